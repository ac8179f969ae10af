//! What the metadata say about the end of the instance (EC2 User Guide, "Instance metadata categories").

use super::imds::{Imds, Item};
use crate::{core::event::Ending, ports::error::FactError};

/// How the end of the instance is announced, if it is.
///
/// # Errors
/// It is not known whether it is.
pub async fn ending(imds: &Imds) -> Result<Option<Ending>, FactError> {
    let paths = [SPOT.to_owned(), AUTO_SCALING.to_owned()];
    let items = imds.get_all(&paths).await?;
    let [spot, target] = items.as_slice() else { return Ok(None) };
    let is_terminated = matches!(target, Item::Present(state) if state.trim() == "Terminated");
    Ok(match spot {
        Item::Present(_) => Some(Ending::Spot),
        Item::Absent => is_terminated.then_some(Ending::AutoScaling),
    })
}

/// There only once the instance is marked to be stopped, hibernated or terminated: about two minutes before.
const SPOT: &str = "meta-data/spot/instance-action";
/// Where the Auto Scaling group wants the instance to be.
const AUTO_SCALING: &str = "meta-data/autoscaling/target-lifecycle-state";
