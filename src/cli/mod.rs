//! One file per subcommand.

pub mod backtest;
