//! What a Service is told whose frontend another one has, by a condition of its status and an Event.

use std::collections::BTreeSet;

use cluster_registry::{claims::Claims, frontend::Frontend, name::ServiceName, view::View};

use super::{
    condition::{self, Holds, Subject},
    existing::OwnService,
    plan::{About, Context, Write},
};

/// The condition's type; it is there only while it is true, as most Services never have it.
pub(super) const CONDITION: &str = "isthmus.io/FrontendConflict";

/// The condition's reason, and the Event's.
const REASON: &str = "HeldByOlderService";

/// How many frontends a message names.
const MAX_NAMED: usize = 4;

/// Who asks for which frontend, in the newest view.
#[derive(Debug, Default)]
pub(super) struct Frontends(Claims<Frontend>);

impl Frontends {
    /// Takes what a service asks for now, and makes the others due whose frontends have another holder
    /// than before.
    pub(super) fn note(
        &mut self,
        view: &View,
        name: &ServiceName,
        due: &mut BTreeSet<ServiceName>,
    ) {
        let service = view.services.get(name);
        let wanted = service.map(|service| service.frontends());
        let age = service.map(|service| service.age());
        self.0.set(
            name,
            age.unwrap_or_default(),
            wanted.unwrap_or_default(),
            due,
        );
    }

    /// What to write about one Service.
    pub(super) fn writes(
        &self,
        name: &ServiceName,
        own: Option<&OwnService>,
        context: Context<'_>,
    ) -> Vec<Write> {
        let Some(own) = own else {
            return Vec::new();
        };
        let old = own.condition.as_slice();
        let Some(holds) = self.holds(name) else {
            let left = old
                .iter()
                .map(|_| Write::ServiceCondition(name.clone(), None));
            return left.collect();
        };
        let subject = Subject {
            existing: old,
            generation: own.generation,
            now: context.now,
        };
        let wanted = subject.condition(CONDITION, holds);
        if condition::are_there(std::slice::from_ref(&wanted), old) {
            return Vec::new();
        }
        let event = Write::Event {
            about: About::Service(name.clone()),
            uid: own.uid.clone(),
            reason: REASON.to_owned(),
            message: wanted.message.clone(),
        };
        let condition = Write::ServiceCondition(name.clone(), Some(Box::new(wanted)));
        vec![event, condition]
    }

    /// What the condition says; `None` when the service has all that it asks for.
    fn holds(&self, name: &ServiceName) -> Option<Holds> {
        let withheld: Vec<(Frontend, &ServiceName)> = self.0.withheld_from(name).collect();
        if withheld.is_empty() {
            return None;
        }
        let named = withheld.iter().take(MAX_NAMED);
        let named: Vec<String> = named
            .map(|(frontend, holder)| format!("{frontend} belongs to Service {holder}"))
            .collect();
        let mut message = named.join(", ");
        let rest = withheld.len().saturating_sub(MAX_NAMED);
        if rest > 0 {
            message.push_str(&format!(", and {rest} more belong to others"));
        }
        message.push_str(
            ": the older Service keeps what two ask for. Give this one another address or port.",
        );
        Some(Holds::new("True", REASON, message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cluster_registry::{
        name::ClusterName,
        service::{Protocol, Service, ServicePort, Timestamp},
        view::MergedService,
    };

    use super::*;

    #[test]
    fn a_message_names_a_few_frontends_and_counts_the_rest() {
        let mut view = View::new(ClusterName::parse("west").unwrap());
        let mut frontends = Frontends::default();
        let mut due = BTreeSet::new();
        for (created, name) in ["older", "younger"].into_iter().enumerate() {
            let port = |n| ServicePort::new(None, Protocol::Tcp, n);
            let service = Service {
                cluster_ips: vec!["192.0.2.1".parse().unwrap()],
                ports: (1..=6).map(port).collect(),
                created: Timestamp(created as u64),
                ..Service::default()
            };
            let merged = MergedService {
                local: Some(Arc::new(service)),
                ..MergedService::default()
            };
            let name = ServiceName::parse("shop", name).unwrap();
            view.services.insert(name.clone(), Arc::new(merged));
            frontends.note(&view, &name, &mut due);
        }
        let younger = ServiceName::parse("shop", "younger").unwrap();

        let message = frontends.holds(&younger).unwrap().message;

        assert!(message.starts_with(
            "192.0.2.1:1/TCP belongs to Service shop/older, 192.0.2.1:2/TCP belongs to"
        ));
        assert!(message.contains("192.0.2.1:4/TCP belongs to Service shop/older, and 2 more"));
        let older = ServiceName::parse("shop", "older").unwrap();
        assert_eq!(frontends.holds(&older), None);
    }
}
