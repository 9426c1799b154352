//! The log's levels, as `/logging` shows and changes them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Libraries that at their finest level write what goes over the wire, tokens and cookies among it.
const TELLTALES: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "tokio_util", "tonic"];

/// A level as Envoy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// Much.
    Debug,
    /// The usual.
    Info,
    /// What may be wrong.
    Warning,
    /// What is wrong.
    Error,
    /// The same; nothing here is worse than an error.
    Critical,
    /// Nothing.
    Off,
}

/// Logger names, Envoy's where there is such a thing, and the crate that logs under them.
const LOGGERS: &[(&str, &str)] = &[
    ("admin", "meltemi_admin"),
    ("config", "meltemi_config"),
    ("connection", "meltemi_net"),
    ("conn_handler", "meltemi_listener"),
    ("filter", "meltemi_telemetry"),
    ("grpc", "meltemi_xds_client"),
    ("h2", "h2"),
    ("http", "meltemi_http"),
    ("hyper", "hyper"),
    ("main", "meltemi_proxy"),
    ("secret", "meltemi_tls"),
    ("tls", "rustls"),
    ("upstream", "meltemi_upstream"),
];

/// The levels, and the way to put them in force.
pub struct LogControl {
    levels: Mutex<Levels>,
    apply: Box<dyn Fn(Targets) + Send + Sync>,
}

struct Levels {
    /// Of whatever has no name here.
    default: LogLevel,
    /// By [`LOGGERS`].
    loggers: Vec<LogLevel>,
}

impl LogLevel {
    const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Off,
    ];

    /// Envoy's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }

    /// The level of this name; `warn` is a warning too.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "warn" { "warning" } else { name };
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Off => LevelFilter::OFF,
        }
    }
}

impl LogControl {
    /// Everything at `level`; `apply` puts a changed filter in force, as the handle of a
    /// `tracing_subscriber::reload::Layer` does. Begin with [`LogControl::initial`].
    pub fn new(level: LogLevel, apply: impl Fn(Targets) + Send + Sync + 'static) -> Self {
        Self {
            levels: Mutex::new(Levels::all(level)),
            apply: Box::new(apply),
        }
    }

    /// The filter to begin with.
    pub fn initial(level: LogLevel) -> Targets {
        Levels::all(level).targets()
    }

    /// The level of whatever has no logger name.
    pub fn default_level(&self) -> LogLevel {
        self.lock().default
    }

    /// Every logger's name and level.
    pub fn levels(&self) -> Vec<(&'static str, LogLevel)> {
        let levels = self.lock();
        let names = LOGGERS.iter().map(|(name, _)| *name);
        names.zip(levels.loggers.iter().copied()).collect()
    }

    /// Changes the level of everything.
    pub fn set_all(&self, level: LogLevel) {
        let mut levels = self.lock();
        *levels = Levels::all(level);
        (self.apply)(levels.targets());
    }

    /// Changes the level of some loggers; none of them where one has no such name, which comes
    /// back.
    ///
    /// # Errors
    /// The first name that is no logger's.
    pub fn set<'a>(&self, changes: &[(&'a str, LogLevel)]) -> Result<(), &'a str> {
        let mut positions = Vec::with_capacity(changes.len());
        for (name, level) in changes {
            let position = LOGGERS.iter().position(|(known, _)| known == name);
            positions.push((position.ok_or(*name)?, *level));
        }
        let mut levels = self.lock();
        for (position, level) in positions {
            levels.loggers[position] = level;
        }
        (self.apply)(levels.targets());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Levels {
    fn all(level: LogLevel) -> Self {
        Self {
            default: level,
            loggers: vec![level; LOGGERS.len()],
        }
    }

    fn targets(&self) -> Targets {
        let loggers = LOGGERS.iter().zip(&self.loggers);
        let tactful = TELLTALES.map(|it| (it, self.default.filter().min(LevelFilter::DEBUG)));
        Targets::new()
            .with_default(self.default.filter())
            .with_targets(tactful)
            .with_targets(loggers.map(|((_, target), level)| (*target, level.filter())))
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}
