//! `lvx list`: what the daemon balances, as the tables of `ipvsadm -Ln`.

mod health;
mod table;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Args;

use crate::control::client::{Client, ClientError};
pub(super) use health::age;
pub use health::health_table;
pub use table::{CONNECTIONS_HEADER, Columns, TableFormat, connection_line, services_table};

/// Arguments of `lvx list`.
#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// Show connections, packets and bytes since the start of the daemon.
    #[arg(long, conflicts_with_all = ["rate", "connections"])]
    pub stats: bool,
    /// Show connections, packets and bytes per second.
    #[arg(long, conflicts_with = "connections")]
    pub rate: bool,
    /// Show the connection entries.
    #[arg(long, short = 'c')]
    pub connections: bool,
    /// Show what the health checks say.
    #[arg(long, conflicts_with_all = ["stats", "rate", "connections"])]
    pub health: bool,
    /// Print JSON: everything the daemon knows, or the connection entries with --connections.
    #[arg(long)]
    pub json: bool,
    /// Print counters in full, not in thousands (K), millions (M), ...
    #[arg(long)]
    pub exact: bool,
    /// Sort services by family, protocol, address and port, and real servers by address and port, as ipvsadm does;
    /// otherwise they come in the order of the configuration.
    #[arg(long)]
    pub sort: bool,
    /// Accepted for the habit of `ipvsadm -Ln`: addresses and ports are always numeric.
    #[arg(long, short = 'n', hide = true)]
    pub numeric: bool,
}

impl ListArgs {
    fn format(&self) -> TableFormat {
        let columns = match (self.stats, self.rate) {
            (true, _) => Columns::Stats,
            (false, true) => Columns::Rate,
            (false, false) => Columns::Weights,
        };
        TableFormat { columns, exact: self.exact, sort: self.sort }
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The daemon could not be asked.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The list could not be printed.
    #[error("cannot print the list: {0}")]
    Output(#[from] io::Error),
}

impl From<serde_json::Error> for ListError {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Asks the daemon on `socket` and prints the list on the standard output.
///
/// # Errors
/// Where no daemon answers, or the output fails for another reason than that nobody reads it any more
/// (`lvx list | head`).
pub fn run(args: &ListArgs, socket: &Path) -> Result<(), ListError> {
    match print(args, socket, &mut BufWriter::new(io::stdout().lock())) {
        Err(ListError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// [`run`] with another output.
///
/// # Errors
/// As [`run`], and `BrokenPipe` is one of them.
pub fn print(args: &ListArgs, socket: &Path, out: &mut dyn Write) -> Result<(), ListError> {
    let mut client = Client::connect(socket)?;
    match (args.connections, args.json) {
        (false, false) if args.health => out.write_all(health_table(&client.snapshot()?).as_bytes())?,
        (false, false) => out.write_all(services_table(&client.snapshot()?, args.format()).as_bytes())?,
        (false, true) => {
            serde_json::to_writer_pretty(&mut *out, &client.snapshot()?)?;
            out.write_all(b"\n")?;
        }
        (true, false) => {
            out.write_all(CONNECTIONS_HEADER.as_bytes())?;
            for connection in client.connections()? {
                out.write_all(connection_line(&connection?).as_bytes())?;
            }
        }
        (true, true) => {
            let mut before = "[\n";
            for connection in client.connections()? {
                out.write_all(before.as_bytes())?;
                serde_json::to_writer(&mut *out, &connection?)?;
                before = ",\n";
            }
            out.write_all(if before == "[\n" { b"[]\n" } else { b"\n]\n" })?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        list: ListArgs,
    }

    fn parse(arguments: &[&str]) -> Result<ListArgs, clap::Error> {
        Command::try_parse_from([&["list"], arguments].concat()).map(|command| command.list)
    }

    #[test]
    fn the_flags_of_ipvsadm_choose_the_columns() {
        assert_eq!(parse(&[]).unwrap().format().columns, Columns::Weights);
        assert_eq!(parse(&["-n", "--stats"]).unwrap().format().columns, Columns::Stats);
        assert_eq!(parse(&["--rate", "--exact"]).unwrap().format().columns, Columns::Rate);
        assert!(parse(&["-nc"]).unwrap().connections);
    }

    #[test]
    fn one_list_at_a_time() {
        for contradiction in [["--stats", "--rate"], ["--stats", "-c"], ["--rate", "--connections"]] {
            assert!(parse(&contradiction).is_err(), "{contradiction:?}");
        }
    }
}
