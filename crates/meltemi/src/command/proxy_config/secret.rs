//! `meltemi proxy-config secret`.

use anyhow::Result;
use meltemi_lifecycle::Clock;
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::secret;
use x509_parser::pem::Pem;
use x509_parser::time::ASN1Time;

use super::{Output, Subject, in_camel_case, understood};
use crate::config_dump::{ConfigDump, Held};
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's secrets: certificates and roots; private keys are in no proxy's answer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config secret webapp
  meltemi pc secret webapp -o json | jq '.dynamicActiveSecrets[].name'
  meltemi pc s webapp -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
    } = arguments;
    let dump = subject.dump(locator)?;
    let text = match output {
        Format::Short => summary(&dump, terminal),
        Format::Json | Format::Yaml => {
            document::render(&in_camel_case(&dump.secrets_dump()?), output)?
        }
    };
    Ok(terminal.print(&text)?)
}

/// The table, or that there is nothing to be in it.
pub(super) fn summary(dump: &ConfigDump, terminal: &Terminal) -> String {
    let headings = [
        "RESOURCE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ];
    let mut held = understood(dump.secrets(), terminal);
    if held.is_empty() {
        return "No active or warming secrets found.\n".to_owned();
    }
    held.sort_by(|a, b| a.secret.name.cmp(&b.secret.name));
    let now = Clock::system().since_epoch().as_secs();
    let mut table = Table::new(headings, 5);
    for Held { secret, state } in &held {
        let (kind, source) = match &secret.r#type {
            Some(secret::Type::TlsCertificate(it)) => ("Cert Chain", it.certificate_chain.as_ref()),
            Some(secret::Type::ValidationContext(it)) => ("CA", it.trusted_ca.as_ref()),
            Some(secret::Type::SessionTicketKeys(_)) => ("Session Ticket Keys", None),
            Some(secret::Type::GenericSecret(_)) => ("Generic", None),
            None => ("", None),
        };
        let [valid, serial, after, before] = match source.and_then(certificate) {
            Some(facts) => facts.cells(now),
            None => [const { String::new() }; 4],
        };
        let (name, kind, state) = (secret.name.clone(), kind.to_owned(), (*state).to_owned());
        table.row([name, kind, state, valid, serial, after, before]);
    }
    table.to_string()
}

/// What is told of a certificate.
struct Facts {
    serial: String,
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Facts {
    fn cells(&self, now: u64) -> [String; 4] {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let valid = (self.not_before.timestamp()..=self.not_after.timestamp()).contains(&now);
        [
            valid.to_string(),
            self.serial.clone(),
            written(self.not_after),
            written(self.not_before),
        ]
    }
}

/// The first certificate.
fn certificate(source: &DataSource) -> Option<Facts> {
    let text = match source.specifier.as_ref()? {
        Specifier::InlineBytes(bytes) => bytes.as_slice(),
        Specifier::InlineString(text) => text.as_bytes(),
        Specifier::Filename(_) | Specifier::EnvironmentVariable(_) => return None,
    };
    let pem = Pem::iter_from_buffer(text).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let validity = certificate.validity();
    Some(Facts {
        serial: certificate.tbs_certificate.serial.to_str_radix(16),
        not_before: validity.not_before,
        not_after: validity.not_after,
    })
}

/// A time by RFC 3339, in UTC.
fn written(time: ASN1Time) -> String {
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
