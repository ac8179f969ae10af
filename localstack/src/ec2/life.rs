//! `StartInstances`, `StopInstances` and `TerminateInstances`; what takes minutes in AWS is done at once.

use crate::{form::Form, instance::InstanceState, world::State};

use super::{Action, Content, Error, document, named_ids};

/// Changes the state of the named instances.
pub(super) fn change(state: &mut State, action: Action, form: &Form) -> Result<Content, Error> {
    let ids = named_ids(state, form, "InstanceId")?;
    if ids.is_empty() {
        return Err(Error::missing("InstanceId"));
    }
    let becomes = match action {
        Action::StartInstances => InstanceState::Running,
        Action::TerminateInstances => InstanceState::Terminated,
        _ => InstanceState::Stopped,
    };
    let gone = ids.iter().find(|id| {
        let current = state.instances.get(**id).map(|instance| instance.state);
        current == Some(InstanceState::Terminated) && becomes != InstanceState::Terminated
    });
    if let Some(id) = gone {
        let message =
            format!("The instance '{id}' is not in a state from which it can be changed.");
        return Err(Error::new("IncorrectInstanceState", message));
    }
    let mut changes = Vec::new();
    for id in ids {
        let Some(instance) = state.instances.get_mut(id) else { continue };
        changes.push((id.to_owned(), instance.state));
        instance.state = becomes;
    }
    Ok(Box::new(move |xml| {
        xml.nest("instancesSet", |xml| {
            for (id, before) in &changes {
                xml.nest("item", |xml| {
                    xml.leaf("instanceId", id);
                    xml.nest("currentState", |xml| document::state(xml, becomes));
                    xml.nest("previousState", |xml| document::state(xml, *before));
                });
            }
        });
    }))
}
