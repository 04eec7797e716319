//! `slmd status` and `slmd cancel`: the daemon, asked and told.

use super::answerer::connect;
use super::args::{CancelArgs, StatusArgs};
use super::exit::{Failure, USAGE};
use super::facts;

/// Runs `status`.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let report = connect(&args.socket)?.into_client().status()?;
    facts::print(&report, args.json)
}

/// Runs `cancel`.
pub fn cancel(args: &CancelArgs) -> Result<(), Failure> {
    let Ok(number) = args.request.parse() else {
        let message = format!("{:?} is not the number of a request", args.request);
        return Err(Failure::new(USAGE, message).hint(
            "take it from `slmd status`; an `id` is known only to the connection that gave it",
        ));
    };
    Ok(connect(&args.socket)?.into_client().cancel_number(number)?)
}
