//! offhook: DHCP, voice DNS and TFTP recovery for a voice VLAN, from one TOML file.
//!
//! This crate is the program: the command line and thin shells of sockets, threads and logs around the cores.

mod check;
mod cli;
mod clock;
mod control;
mod counters;
mod demo;
mod dhcp;
mod dns;
mod exit;
mod firmware;
mod health;
mod leases;
mod log;
mod reload;
mod run;
mod status;
mod tftp;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // No thread exists yet: `demo` enters namespaces and `run` sheds privileges before any is started.
    match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Demo(args) => demo::main(args),
        Command::Families => exit::printed(offhook_config::catalogue_toml()),
        Command::Firmware(args) => firmware::main(&args),
        Command::Leases(args) => leases::main(&args),
        Command::Status(args) => status::main(&args),
    }
}
