//! The command line: one file per subcommand.

mod backtest;
mod controller;
mod crds;
mod plan;
mod simulate;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use futures::future::LocalBoxFuture;

/// Proves a new model version on real traffic before it takes over.
#[derive(Debug, Parser)]
#[command(name = "seatrial", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator
    Controller(controller::Args),
    /// Show what would have been decided on recorded blocks of counts
    Backtest(Box<backtest::Args>),
    /// Say how long each step of a TrafficSplit will need, and what it can find
    Plan(plan::Args),
    /// Play a rollout through without a cluster: what will it do?
    Simulate(Box<simulate::Args>),
    /// Print the custom resource definitions as YAML
    Crds,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// The subcommand's; they are written for the person at the terminal.
    pub fn run(self) -> LocalBoxFuture<'static, Result<ExitCode, Box<dyn Error + Send + Sync>>> {
        Box::pin(self.does())
    }

    async fn does(self) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
        match self.command {
            Command::Controller(args) => Box::pin(args.run()).await?,
            Command::Backtest(args) => return Ok(backtest::run(&args).await),
            Command::Plan(args) => return Ok(plan::run(&args)),
            Command::Simulate(args) => return Ok(simulate::run(&args).await),
            Command::Crds => crds::print(&mut std::io::stdout().lock())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_flag_is_explained() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            assert!(subcommand.get_about().is_some(), "{}", subcommand.get_name());
            for arg in subcommand.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", subcommand.get_name(), arg.get_id());
            }
        }
    }
}
