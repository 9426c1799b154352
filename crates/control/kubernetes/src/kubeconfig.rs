//! kubeconfig files (`v1`, Config).
//!
//! In: a file and the name of a context. Out: [`Access`]. What would change who asks or whom we believe, and
//! is not supported, is refused by its name. Called by `access`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meltemi_lifecycle::Clock;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::access::{Access, AccessError, ClientMaterial, Material, Token, read_file};
use crate::plugin::Plugin;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: String,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    username: Option<String>,
    exec: Option<Exec>,
    auth_provider: Option<serde::de::IgnoredAny>,
    r#as: Option<String>,
}

/// ExecConfig.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: String,
    command: PathBuf,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    #[serde(default)]
    provide_cluster_info: bool,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").finish_non_exhaustive()
    }
}

/// The file, for its relative paths and for errors.
struct File<'a> {
    path: &'a Path,
}

/// Reads a kubeconfig.
pub(crate) fn read(path: &Path, context: Option<&str>) -> Result<Access, AccessError> {
    let file = File { path };
    let text = String::from_utf8_lossy(&read_file(path)?).into_owned();
    let config: Config = serde_saphyr::from_str(&text).map_err(|error| AccessError::Syntax {
        path: path.to_owned(),
        reason: error.without_snippet().to_string(),
    })?;
    let Config {
        clusters,
        users,
        contexts,
        current_context,
    } = config;
    let name = context.unwrap_or(&current_context);
    if name.is_empty() {
        let reason = "there is none; name one of the contexts";
        return Err(file.wrong("current-context", reason));
    }
    let missing =
        |what: &str, name: &str| file.wrong(what, &format!("there is none called `{name}`"));
    let context = contexts.into_iter().find(|it| it.name == name);
    let context = context.ok_or_else(|| missing("contexts", name))?.context;
    let cluster = clusters.into_iter().find(|it| it.name == context.cluster);
    let cluster = cluster.ok_or_else(|| missing("clusters", &context.cluster))?;
    let user = match context.user.as_str() {
        "" => User::default(),
        name => {
            let user = users.into_iter().find(|it| it.name == name);
            let user = user.ok_or_else(|| missing("users", name))?;
            user.user.unwrap_or_default()
        }
    };
    file.access(cluster.cluster, user)
}

impl File<'_> {
    fn access(&self, cluster: Cluster, user: User) -> Result<Access, AccessError> {
        let Cluster {
            server,
            certificate_authority,
            certificate_authority_data,
            tls_server_name,
            insecure_skip_tls_verify,
            proxy_url,
        } = cluster;
        let User {
            token,
            token_file,
            client_certificate,
            client_certificate_data,
            client_key,
            client_key_data,
            username,
            exec,
            auth_provider,
            r#as,
        } = user;
        let token_instead = "not supported; give a token, a tokenFile or a client certificate";
        for (field, is_written, reason) in [
            (
                "insecure-skip-tls-verify",
                insecure_skip_tls_verify,
                "not supported; give certificate-authority",
            ),
            (
                "proxy-url",
                proxy_url.is_some(),
                "not supported; give a server that can be reached",
            ),
            ("auth-provider", auth_provider.is_some(), token_instead),
            ("username", username.is_some(), token_instead),
            (
                "as",
                r#as.is_some(),
                "not supported; give the credentials of whom you mean",
            ),
        ] {
            if is_written {
                return Err(self.wrong(field, reason));
            }
        }
        let authority = self.material(
            "certificate-authority",
            certificate_authority_data,
            certificate_authority,
        )?;
        let certificate = self.material(
            "client-certificate",
            client_certificate_data,
            client_certificate,
        )?;
        let key = self.material("client-key", client_key_data, client_key)?;
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(ClientMaterial { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(self.wrong("client-key", "client-certificate needs it")),
            (None, Some(_)) => return Err(self.wrong("client-certificate", "client-key needs it")),
        };
        let token = match (token.filter(|it| !it.is_empty()), token_file, exec) {
            // As kubectl has it, the file goes before the text, and both before a program.
            (_, Some(file), _) => Some(Token::File(self.beside(&file))),
            (Some(text), None, _) => Some(Token::Text(text)),
            (None, None, Some(exec)) => Some(Token::Plugin(Arc::new(self.plugin(exec)?))),
            (None, None, None) => None,
        };
        let material = authority.map(|authority| Material {
            authority,
            client,
            server_name: tls_server_name,
        });
        if material.is_none() && server.starts_with("https:") {
            let reason = "https:// needs the authority of the server's certificate";
            return Err(self.wrong("certificate-authority", reason));
        }
        Access::new(&server, material, token)
    }

    fn plugin(&self, exec: Exec) -> Result<Plugin, AccessError> {
        let Exec {
            api_version,
            command,
            args,
            env,
            provide_cluster_info,
        } = exec;
        if provide_cluster_info {
            return Err(self.wrong("exec.provideClusterInfo", "not supported; leave it out"));
        }
        if !api_version.starts_with("client.authentication.k8s.io/") {
            let reason = format!("`{api_version}` is not one of client.authentication.k8s.io");
            return Err(self.wrong("exec.apiVersion", &reason));
        }
        // A name alone is looked for on the path.
        let program = match command.components().count() {
            1 => command,
            _ => self.beside(&command),
        };
        let environment = env.unwrap_or_default().into_iter();
        Ok(Plugin {
            program,
            arguments: args.unwrap_or_default(),
            environment: environment.map(|it| (it.name, it.value)).collect(),
            api_version,
            clock: Clock::system(),
            made: Mutex::default(),
        })
    }

    /// PEM, in the file itself or in one beside it.
    fn material(
        &self,
        field: &str,
        data: Option<String>,
        path: Option<PathBuf>,
    ) -> Result<Option<Vec<u8>>, AccessError> {
        if let Some(data) = data.filter(|it| !it.is_empty()) {
            let decoded = STANDARD.decode(data.trim());
            let decoded =
                decoded.map_err(|it| self.wrong(&format!("{field}-data"), &it.to_string()))?;
            return Ok(Some(decoded));
        }
        path.map(|path| read_file(&self.beside(&path))).transpose()
    }

    /// A path as the file means it: from the directory that it is in.
    fn beside(&self, path: &Path) -> PathBuf {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        directory.join(path)
    }

    fn wrong(&self, field: &str, reason: &str) -> AccessError {
        AccessError::Field {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.to_owned(),
        }
    }
}
