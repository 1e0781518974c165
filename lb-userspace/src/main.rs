//! The `lvx` command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_userspace::cli::{check, decap, genhash, list, run, switchover, vrrp};
use lb_userspace::vrrp::io as vrrp_io;

/// Where the daemon listens when neither the configuration nor the command line says otherwise.
const SOCKET: &str = "/run/lvx/lvx.sock";

/// A layer-4 load balancer: LVS in XDP.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the director in the foreground; SIGHUP reloads, SIGTERM detaches and ends.
    Run {
        /// Configuration file.
        #[arg(long, default_value = "/etc/lvx/lvx.toml")]
        config: PathBuf,
    },
    /// Check a configuration file; the exit code is 0 where it is right.
    Check {
        /// Configuration file.
        file: PathBuf,
    },
    /// List virtual services and real servers of the running director, as ipvsadm -Ln does.
    List {
        #[command(flatten)]
        arguments: list::ListArgs,
        /// Control socket of the director.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Show the virtual routers: states, timers, other routers, and why they are what they are.
    Vrrp {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Control socket of the director.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Hand virtual routers over to another director, without a gap, or take them back.
    Switchover {
        #[command(flatten)]
        arguments: switchover::SwitchoverArgs,
        /// Control socket of the director.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Take IP-in-IP headers off on a tunnel real server whose kernel has no ipip device.
    Decap(decap::DecapArgs),
    /// Take virtual addresses away when the director is killed; it starts this itself.
    #[command(name = vrrp_io::guard::COMMAND, hide = true)]
    VrrpGuard,
    /// Print the digest of a page for an HTTP check, as genhash of keepalived does.
    Genhash(genhash::GenhashArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { file } => check::run(&file),
        Command::List { arguments, socket } => match list::run(&arguments, &socket) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lvx list: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Vrrp { json, socket } => match vrrp::run(json, &socket) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lvx vrrp: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Switchover { arguments, socket } => switchover::run(&arguments, &socket),
        Command::Decap(arguments) => decap::run(&arguments),
        Command::VrrpGuard => match vrrp_io::guard::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Command::Genhash(arguments) => genhash::run(&arguments),
    }
}
