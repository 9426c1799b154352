//! Programs that make credentials (`client.authentication.k8s.io`, ExecCredential).
//!
//! In: a program as a kubeconfig names it. Out: a bearer token, kept until it ends or is refused. Called by
//! `client`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use meltemi_lifecycle::Clock;
use meltemi_model::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::Mutex;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long before its end a token is not used any more, in seconds.
const MARGIN: i64 = 60;

/// A program that makes tokens.
pub(crate) struct Plugin {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The version of ExecCredential that it speaks.
    pub api_version: String,
    pub clock: Clock,
    pub made: Mutex<Option<Made>>,
}

/// A token, and when it ends.
pub(crate) struct Made {
    token: String,
    ends: Option<Timestamp>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The program does not run, or not to its end.
    #[error("{program}: {reason}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// What it prints is not understood.
    #[error("{program}: what it prints is no ExecCredential with a token: {reason}")]
    Answer {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
}

/// ExecCredential, the part that is read.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Plugin {
    /// A token that is good for a while.
    pub async fn token(&self) -> Result<String, PluginError> {
        // Whoever comes meanwhile waits for the one that is being made.
        let mut made = self.made.lock().await;
        let now = i64::try_from(self.clock.since_epoch().as_secs()).unwrap_or(i64::MAX);
        let is_good = |it: &&Made| it.ends.is_none_or(|ends| ends.0 - MARGIN > now);
        if let Some(good) = made.as_ref().filter(is_good) {
            return Ok(good.token.clone());
        }
        let next = self.make().await?;
        let token = next.token.clone();
        *made = Some(next);
        Ok(token)
    }

    /// The server does not take this token any more.
    pub async fn forget(&self, token: &str) {
        let mut made = self.made.lock().await;
        if made.as_ref().is_some_and(|it| it.token == token) {
            *made = None;
        }
    }

    async fn make(&self) -> Result<Made, PluginError> {
        let program = || self.program.display().to_string();
        let failed = |reason: String| PluginError::Run {
            program: program(),
            reason,
        };
        let asked = json!({
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": { "interactive": false },
        });
        let running = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .env("KUBERNETES_EXEC_INFO", asked.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(LIMIT, running).await {
            Ok(output) => output.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("it takes longer than {LIMIT:?}"))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|it| !it.trim().is_empty());
            let last = last.unwrap_or("it does not say why");
            return Err(failed(format!("{}: {last}", output.status)));
        }
        let unread = |reason: String| PluginError::Answer {
            program: program(),
            reason,
        };
        let read: ExecCredential =
            serde_json::from_slice(&output.stdout).map_err(|error| unread(error.to_string()))?;
        let status = read.status.ok_or_else(|| unread("no status".to_owned()))?;
        let token = status.token.filter(|it| !it.is_empty());
        let token = token.ok_or_else(|| unread("no status.token".to_owned()))?;
        let ends = status.expiration_timestamp.map(|text| {
            Timestamp::parse(&text)
                .ok_or_else(|| unread(format!("status.expirationTimestamp: `{text}` is no time")))
        });
        Ok(Made {
            token,
            ends: ends.transpose()?,
        })
    }
}
