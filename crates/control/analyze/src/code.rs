//! The codes of messages, as Istio numbers them.
//!
//! In: nothing. Out: [`Code`], with its number, name and level.

use std::fmt;
use std::str::FromStr;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Good to know.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Wrong.
    Error,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $level:ident,)*) => {
        /// What a message is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is printed, such as `IST0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $number,)* }
            }

            /// How bad it is.
            pub fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }
        }
    };
}

codes! {
    /// A resource is named that does not exist.
    ReferencedResourceNotFound = "IST0101" Error,
    /// A namespace does not say whether it is injected.
    NamespaceNotInjected = "IST0102" Info,
    /// A resource is not valid.
    SchemaValidationError = "IST0106" Error,
    /// VirtualServices of the mesh have the same host.
    ConflictingMeshGatewayVirtualServiceHosts = "IST0109" Error,
    /// Sidecars select the same workload.
    ConflictingSidecarWorkloadSelectors = "IST0110" Error,
    /// A namespace has several Sidecars without a selector.
    MultipleSidecarsWithoutWorkloadSelectors = "IST0111" Error,
    /// A destination with several ports is named without one.
    VirtualServiceDestinationPortSelectorRequired = "IST0112" Error,
    /// A port's name does not tell its protocol.
    PortNameIsNotUnderNamingConvention = "IST0118" Info,
    /// A rule is never reached.
    VirtualServiceUnreachableRule = "IST0130" Warning,
    /// A match is never the first to match.
    VirtualServiceIneffectiveMatch = "IST0131" Info,
    /// None of a VirtualService's hosts is one of its Gateway's.
    VirtualServiceHostNotFoundInGateway = "IST0132" Warning,
    /// A resource is valid, but something about it is not honoured.
    SchemaWarning = "IST0133" Warning,
    /// A ServiceEntry needs addresses for a port whose traffic is told apart by address only.
    ServiceEntryAddressesRequired = "IST0134" Warning,
    /// Gateways select the same workloads and have the same port and host.
    ConflictingGateways = "IST0145" Error,
    /// A port of an ExternalName service has a name that keeps it from being forwarded.
    ExternalNameServiceTypeInvalidPortName = "IST0150" Warning,
    /// A gateway's port is not one of its service's.
    GatewayPortNotDefinedOnService = "IST0162" Warning,
    /// A subset selects no workload.
    DestinationRuleSubsetNotSelectPods = "IST0173" Error,
    /// A DestinationRule is for a host that no service has.
    UnknownDestinationRuleHost = "IST0174" Warning,
    /// ServiceEntries give one port of a host several protocols.
    ConflictingServiceEntryProtocol = "IST0177" Warning,
}

impl Code {
    /// Where Istio's documentation explains the code.
    pub fn documentation(self) -> String {
        let code = self.as_str().to_ascii_lowercase();
        format!("https://istio.io/latest/docs/reference/config/analysis/{code}/")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Level {
    /// Every level, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Info];

    /// The level as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter();
        let mut found = known.filter(|it| it.as_str().eq_ignore_ascii_case(text));
        found
            .next()
            .ok_or_else(|| format!("{text} is no level; write Error, Warning or Info"))
    }
}
