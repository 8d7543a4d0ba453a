//! What the clusters offer of one service, held once, and the parts of it that a view shows.
//!
//! Whose definitions count, and whose endpoints are behind which addresses, follows from the definitions. So the parts
//! are looked at through a rule and not kept beside each other: with hundreds of clusters they would cost more than
//! what they are of.

use std::{fmt, ops::Index, sync::Arc};

use super::Endpoints;
use crate::{name::ClusterName, service::Service, shared_map::SharedMap};

/// What one cluster says of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) definition: Option<Arc<Service>>,
    pub(crate) endpoints: Endpoints,
}

impl Offer {
    pub(crate) fn is_empty(&self) -> bool {
        self.definition.is_none() && self.endpoints.is_empty()
    }
}

/// What all clusters say of one service.
pub(crate) type OffersByCluster = SharedMap<ClusterName, Offer>;

/// The definitions that clusters have of one service, by cluster.
#[derive(Clone, Default)]
pub struct DefinitionsByCluster {
    offers: OffersByCluster,
    /// The cluster whose own definition is not among them; of the others only exported ones are. Without it, all are.
    except: Option<ClusterName>,
}

impl DefinitionsByCluster {
    /// The definitions that other clusters than one's own share or export.
    pub(crate) fn shared_with(own: &ClusterName, offers: &OffersByCluster) -> Self {
        Self {
            offers: offers.clone(),
            except: Some(own.clone()),
        }
    }

    fn of<'a>(&self, cluster: &ClusterName, offer: &'a Offer) -> Option<&'a Arc<Service>> {
        let definition = offer.definition.as_ref();
        let is_one = |definition: &&Arc<Service>| match &self.except {
            Some(own) => cluster != own && definition.is_exported(),
            None => true,
        };
        definition.filter(is_one)
    }

    /// A cluster's definition.
    pub fn get(&self, cluster: &ClusterName) -> Option<&Arc<Service>> {
        self.of(cluster, self.offers.get(cluster)?)
    }

    /// Whether a cluster's definition is among them.
    pub fn contains_key(&self, cluster: &ClusterName) -> bool {
        self.get(cluster).is_some()
    }

    /// The definitions, in the order of their clusters' names.
    pub fn iter(&self) -> impl Iterator<Item = (&ClusterName, &Arc<Service>)> + Clone {
        let offers = self.offers.iter();
        offers.filter_map(|(cluster, offer)| Some((cluster, self.of(cluster, offer)?)))
    }

    /// The clusters, in the order of their names.
    pub fn keys(&self) -> impl Iterator<Item = &ClusterName> + Clone {
        self.iter().map(|(cluster, _)| cluster)
    }

    /// The definitions alone, in the order of their clusters' names.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Service>> + Clone {
        self.iter().map(|(_, definition)| definition)
    }

    /// How many there are; counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Sets a cluster's definition; by then they are no part of what clusters offer any more.
    pub fn insert(&mut self, cluster: ClusterName, definition: Arc<Service>) {
        let offer = |definition| Offer {
            definition: Some(definition),
            ..Offer::default()
        };
        if self.except.is_some() {
            let own = self.iter();
            let own = own.map(|(cluster, own)| (cluster.clone(), offer(Arc::clone(own))));
            self.offers = own.collect();
            self.except = None;
        }
        self.offers.insert(cluster, offer(definition));
    }
}

impl PartialEq for DefinitionsByCluster {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for DefinitionsByCluster {}

impl fmt::Debug for DefinitionsByCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The endpoints of one service by the cluster that has them.
#[derive(Clone, Default)]
pub struct EndpointsByCluster {
    offers: OffersByCluster,
    whose: Whose,
}

/// Whose endpoints are among those of a service.
#[derive(Debug, Clone, Default)]
enum Whose {
    /// All clusters', as they were put here.
    #[default]
    All,
    /// Those of the clusters that export it by ServiceExport.
    Exported,
    /// One's own cluster's.
    Own(ClusterName),
    /// These, and those of the clusters whose definitions are shared.
    Merged(ClusterName),
}

impl Whose {
    fn has(&self, cluster: &ClusterName, offer: &Offer) -> bool {
        let is_defined = |test: &dyn Fn(&Service) -> bool| {
            offer.definition.as_deref().is_some_and(test) && !offer.endpoints.is_empty()
        };
        match self {
            Self::All => true,
            Self::Exported => is_defined(&|service| service.mcs_export().is_some()),
            Self::Own(own) => cluster == own && is_defined(&|_| true),
            Self::Merged(own) => is_defined(&|service| cluster == own || service.is_shared()),
        }
    }
}

impl EndpointsByCluster {
    /// None of any cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those behind the addresses of one's own cluster; `merges` tells whether other clusters' may be among them.
    pub(crate) fn behind_own(own: &ClusterName, merges: bool, offers: &OffersByCluster) -> Self {
        let own = own.clone();
        Self {
            offers: offers.clone(),
            whose: if merges {
                Whose::Merged(own)
            } else {
                Whose::Own(own)
            },
        }
    }

    /// Those behind an import.
    pub(crate) fn behind_import(offers: &OffersByCluster) -> Self {
        Self {
            offers: offers.clone(),
            whose: Whose::Exported,
        }
    }

    /// A cluster's endpoints; `None` when it has none.
    pub fn get(&self, cluster: &ClusterName) -> Option<&Endpoints> {
        let offer = self.offers.get(cluster)?;
        let is_one = self.whose.has(cluster, offer);
        is_one.then_some(&offer.endpoints)
    }

    /// Whether a cluster has some.
    pub fn contains_key(&self, cluster: &ClusterName) -> bool {
        self.get(cluster).is_some()
    }

    /// The endpoints, in the order of the clusters' names.
    pub fn iter(&self) -> impl Iterator<Item = (&ClusterName, &Endpoints)> + Clone {
        // Most services are one cluster's own, and need no look at what others offer.
        let (own, offers) = match &self.whose {
            Whose::Own(own) => (self.offers.iter_from(own).next(), None),
            Whose::All | Whose::Exported | Whose::Merged(_) => (None, Some(self.offers.iter())),
        };
        let offers = own.into_iter().chain(offers.into_iter().flatten());
        offers
            .filter(|(cluster, offer)| self.whose.has(cluster, offer))
            .map(|(cluster, offer)| (cluster, &offer.endpoints))
    }

    /// The clusters that have some, in the order of their names.
    pub fn keys(&self) -> impl Iterator<Item = &ClusterName> + Clone {
        self.iter().map(|(cluster, _)| cluster)
    }

    /// The endpoints alone, in the order of the clusters' names.
    pub fn values(&self) -> impl Iterator<Item = &Endpoints> + Clone {
        self.iter().map(|(_, endpoints)| endpoints)
    }

    /// How many clusters have some; counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no cluster has any.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Sets a cluster's endpoints.
    pub fn insert(&mut self, cluster: ClusterName, endpoints: Endpoints) {
        *self.get_or_default(&cluster) = endpoints;
    }

    /// A cluster's endpoints, none if it had none, to be changed.
    pub fn get_or_default(&mut self, cluster: &ClusterName) -> &mut Endpoints {
        &mut self.all().get_or_default(cluster).endpoints
    }

    /// A cluster's endpoints, to be changed; `None` when it has none.
    pub fn get_mut(&mut self, cluster: &ClusterName) -> Option<&mut Endpoints> {
        Some(&mut self.all().get_mut(cluster)?.endpoints)
    }

    /// What is in it and nothing else: by then it is no part of what clusters offer any more.
    fn all(&mut self) -> &mut OffersByCluster {
        if !matches!(self.whose, Whose::All) {
            let offer = |(cluster, endpoints): (&ClusterName, &Endpoints)| {
                let endpoints = endpoints.clone();
                let definition = None;
                let offer = Offer {
                    definition,
                    endpoints,
                };
                (cluster.clone(), offer)
            };
            self.offers = self.iter().map(offer).collect();
            self.whose = Whose::All;
        }
        &mut self.offers
    }
}

impl Index<&ClusterName> for EndpointsByCluster {
    type Output = Endpoints;

    /// The endpoints of a cluster that has some; panics as the standard library's maps do.
    fn index(&self, cluster: &ClusterName) -> &Endpoints {
        self.get(cluster).expect("the cluster has endpoints")
    }
}

impl PartialEq for EndpointsByCluster {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for EndpointsByCluster {}

impl fmt::Debug for EndpointsByCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
