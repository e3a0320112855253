//! One unit as the watches (or live reads) have it, read into what a plan is made from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        core::v1::Service,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt};

use super::{
    Source,
    cache::{Cache, Key, Table, heir, key, splits},
    known::Known,
    refused,
};
use crate::{
    api::v1alpha1::{ModelDeployment, ModelRuntime, TrafficSplit},
    prometheus::provider::Provider,
    revision::{Identity, MODEL_LABEL, REVISION_LABEL, Refusal, VERSION_LABEL},
    rollout::{
        evidence::Judgement,
        leftover::{Leads, Leftover},
        observed::{Latest, Model, Observed, Route, Split, StableService, Workload},
        requests,
    },
    route::{self, HTTPRoute},
    workload::{self, Trouble},
};

/// The objects of one unit.
#[derive(Clone, Debug)]
pub struct Found {
    /// The `TrafficSplit`.
    pub split: Option<Arc<TrafficSplit>>,
    /// Models that exist, in the order of the backends.
    pub models: Vec<FoundModel>,
    /// An object with the generated route's name, whoever owns it.
    pub route: Option<Arc<HTTPRoute>>,
    /// Models that are named and do not exist.
    pub missing_models: Vec<String>,
    /// Gateways that are named and do not exist.
    pub missing_gateways: Vec<String>,
    /// What the route names, and there is no Service of that name.
    pub missing_services: BTreeSet<String>,
    /// What deleted models have left.
    pub left: Left,
    /// Revisions of the models that other routes name, and whether those send anybody anywhere.
    pub elsewhere: BTreeMap<String, bool>,
    /// For a model that no `TrafficSplit` has: one that yields, whose route names it nevertheless.
    pub yielding: Option<OwnerReference>,
    /// Why the API server would not take the route that the spec asks for.
    pub unfit: Option<Refusal>,
}

/// Objects of revisions whose model is gone, kept by the `TrafficSplit` that may still send to them.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Their Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Their Services.
    pub services: Vec<Arc<Service>>,
    /// Those of them that the Service of their model's name selects.
    pub selected: BTreeSet<String>,
}

impl Left {
    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.deployments.is_empty() && self.services.is_empty()
    }
}

/// The objects of one model.
#[derive(Clone, Debug)]
pub struct FoundModel {
    /// The model.
    pub object: Arc<ModelDeployment>,
    /// The revision that its spec asks for.
    pub identity: Arc<Identity>,
    /// The runtime that it names.
    pub runtime: Option<Arc<ModelRuntime>>,
    /// Its revisions' Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Its revisions' Services, and the stable one.
    pub services: Vec<Arc<Service>>,
    /// Its snapshots.
    pub revisions: Vec<Arc<ControllerRevision>>,
    /// Why pods of a revision are not ready, where they were looked at.
    pub trouble: BTreeMap<String, Trouble>,
    /// An object that is not ours has the name of the stable Service.
    pub name_taken: bool,
    /// Why the API server would not take the latest revision's pods.
    pub unfit: Option<Refusal>,
}

/// Reads a unit from the cache. `None`: there is nothing (any more).
pub fn find(cache: &Cache, known: &Known, split: Option<&Arc<TrafficSplit>>, models: &[Key]) -> Found {
    let mut found = Found {
        split: split.cloned(),
        models: vec![],
        route: None,
        missing_models: vec![],
        missing_gateways: vec![],
        missing_services: BTreeSet::new(),
        left: Left::default(),
        elsewhere: BTreeMap::new(),
        yielding: None,
        unfit: split.and_then(|split| known.refused_route(split)).map(|(refusal, _)| refusal),
    };
    let split_uid = split.and_then(|s| s.uid()).unwrap_or_default();
    for key in models {
        if let Some(guard) = cache.models.get(key) {
            if let Ok(object) = &guard.0 {
                found.models.push(find_model((cache, known), key, object.clone()));
            }
        } else {
            found.missing_models.push(key.1.clone());
        }
    }
    if let Some(split) = split {
        found.left = Left {
            deployments: left(&cache.deployments, &split_uid, models, &found.models),
            services: left(&cache.services, &split_uid, models, &found.models),
            selected: BTreeSet::new(),
        };
        found.left.selected =
            (found.left.deployments.iter().filter(|d| is_selected(cache, d))).map(|d| d.name_any()).collect();
        let namespace = split.namespace().unwrap_or_default();
        found.route = cache.routes.get(&(namespace.clone(), split.name_any()));
        for parent in &split.spec.route.http_route.parent_refs {
            let key = (parent.namespace.clone().unwrap_or_else(|| namespace.clone()), parent.name.clone());
            if parent.kind == "Gateway" && cache.gateways.get(&key).is_none() {
                found.missing_gateways.push(format!("{}/{}", key.0, key.1));
            }
        }
        let named =
            found.route.iter().flat_map(|route| &route.spec.rules).flat_map(|rule| &rule.backend_refs);
        let is_missing = |name: &&String| cache.services.get(&(namespace.clone(), (*name).clone())).is_none();
        found.missing_services = named.map(|backend| &backend.name).filter(is_missing).cloned().collect();
    }
    if split.is_none() {
        found.yielding = models.iter().find_map(|model| yielding(cache, model));
    }
    found.elsewhere = named_elsewhere(cache, &found, split.map(|split| split.name_any()).as_deref());
    found
}

/// The `TrafficSplit` that does not have a model, but whose route names it, as an owner beside the controlling one.
fn yielding(cache: &Cache, model: &Key) -> Option<OwnerReference> {
    cache.routes.of_model(model).iter().find_map(|route| {
        let owner = splits(&route.metadata).next()?;
        let split = cache.splits.get(&(model.0.clone(), owner.name.clone()))?;
        let split = split.object().filter(|split| split.metadata.uid.as_ref() == Some(&owner.uid))?;
        Some(route::owner_reference(split))
    })
}

/// Revisions of the unit's models that a route other than its own names: of a `TrafficSplit` that yields, or that had the
/// model before. Also without a weight: some of its proxies may have the one before, and it names nothing for longer than
/// that.
fn named_elsewhere(cache: &Cache, found: &Found, own: Option<&str>) -> BTreeMap<String, bool> {
    let of_models = found.models.iter().flat_map(|model| &model.deployments);
    let running: BTreeMap<Key, Option<&String>> =
        of_models.chain(&found.left.deployments).map(|d| (key(&**d), d.labels().get(MODEL_LABEL))).collect();
    let models: BTreeSet<Key> = (running.iter())
        .filter_map(|((namespace, _), model)| Some((namespace.clone(), (*model)?.clone())))
        .collect();
    let routes = models.iter().flat_map(|model| cache.routes.of_model(model));
    let others = routes.filter(|route| own != route.metadata.name.as_deref());
    let mut named: BTreeMap<String, bool> = BTreeMap::new();
    for route in others {
        let view = route::observe(&route);
        let (sends, namespace) = (!view.shares.is_empty(), route.namespace().unwrap_or_default());
        for name in view.shares.into_keys().chain(view.idle) {
            if running.contains_key(&(namespace.clone(), name.clone())) {
                *named.entry(name).or_default() |= sends;
            }
        }
    }
    named
}

fn find_model((cache, known): (&Cache, &Known), key: &Key, object: Arc<ModelDeployment>) -> FoundModel {
    let runtime = object.spec.runtime_ref.as_ref().and_then(|wanted| {
        let guard = cache.runtimes.get(&(String::new(), wanted.name.clone()))?;
        guard.object().cloned()
    });
    let uid = object.uid().unwrap_or_default();
    FoundModel {
        runtime,
        deployments: ours(cache.deployments.of_model(key), &uid),
        services: ours(cache.services.of_model(key), &uid),
        revisions: owned(cache.revisions.of_model(key), &uid),
        trouble: BTreeMap::new(),
        name_taken: false,
        unfit: None,
        identity: known.identity(&object),
        object,
    }
}

/// Also what an earlier model of this name has left to a `TrafficSplit`, the unit's or one that yields: it is taken over.
fn ours<K: Resource>(all: Vec<Arc<K>>, model: &str) -> Vec<Arc<K>> {
    let ours = |o: &Arc<K>| is_owned(o.meta(), model) || heir(o.meta()).is_some();
    all.into_iter().filter(ours).collect()
}

/// What the object with this uid controls.
fn owned<K: Resource>(all: Vec<Arc<K>>, uid: &str) -> Vec<Arc<K>> {
    all.into_iter().filter(|o| is_owned(o.meta(), uid)).collect()
}

/// What was left to `split`, whether or not garbage collection has already struck out the model that is gone; without
/// what a model of the same name takes over.
fn left<K: Resource<DynamicType = ()>>(
    table: &Table<K>,
    split: &str,
    named: &[Key],
    models: &[FoundModel],
) -> Vec<Arc<K>> {
    let kept = |o: &Arc<K>| splits(o.meta()).any(|owner| owner.uid == split);
    let of_named = named.iter().flat_map(|model| table.of_model(model)).filter(kept);
    let goes_on = |o: &Arc<K>| {
        models.iter().any(|model| is_owned(o.meta(), &model.object.uid().unwrap_or_default()))
            || models.iter().any(|model| has_revision(model, &o.name_any()))
    };
    let all = table.left_to(split).into_iter().chain(of_named).filter(|o| !goes_on(o));
    all.map(|o| (key(&*o), o)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Whether the Service of its model's name selects a Deployment's pods.
fn is_selected(cache: &Cache, deployment: &Deployment) -> bool {
    let model = deployment.labels().get(MODEL_LABEL).cloned().unwrap_or_default();
    let service = cache.services.get(&(deployment.namespace().unwrap_or_default(), model));
    service.is_some_and(|service| selected(&service) == deployment.name_any())
}

/// The revision that a Service sends to.
fn selected(service: &Service) -> String {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.and_then(|selector| selector.get(REVISION_LABEL)).cloned().unwrap_or_default()
}

/// Whether a revision of that name is one of the model's, or the one that its spec asks for.
fn has_revision(model: &FoundModel, name: &str) -> bool {
    model.identity.name == name || model.revisions.iter().any(|r| r.name_any() == name)
}

/// Whether the object with this uid is the controlling owner.
pub fn is_owned(meta: &kube::core::ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid == uid)
}

/// What was found, as a plan of a replica sees it that leads since `led_since`. The verdicts come later.
pub fn interpret(
    found: &Found,
    known: &Known,
    providers: &BTreeMap<String, Source>,
    led_since: Timestamp,
) -> Observed {
    Observed {
        led_since,
        split: found.split.as_ref().map(|split| interpret_split(split, found, providers)),
        models: found.models.iter().map(|model| interpret_model(model, known, &found.elsewhere)).collect(),
    }
}

fn interpret_split(split: &TrafficSplit, found: &Found, providers: &BTreeMap<String, Source>) -> Split {
    let uid = split.uid().unwrap_or_default();
    let provider = providers.get(&split.spec.analysis.provider).map(|source| &source.provider);
    let refused = match provider {
        Some(provider) => refused::refused(split, provider).or_else(|| found.unfit.clone()),
        None => Some(refused::unknown_provider(&split.spec.analysis.provider, providers.keys())),
    };
    Split {
        name: split.name_any(),
        generation: split.metadata.generation.unwrap_or(0),
        spec: split.spec.clone(),
        status: split.status.clone().unwrap_or_default(),
        frozen: refused.is_some() || !found.missing_gateways.is_empty(),
        unaskable: if refused.is_some() { refused::unaskable(split, provider) } else { BTreeSet::new() },
        unresolved: refused::unresolved(found),
        missing: found.missing_models.iter().cloned().collect(),
        refused,
        route: match &found.route {
            None => Route::Absent,
            Some(live) if is_owned(&live.metadata, &uid) => Route::Live(route::observe(live)),
            Some(_) => Route::Taken,
        },
        broken: found.missing_services.clone(),
        leftovers: leftovers(&found.left, &found.elsewhere),
        propagation: provider
            .map_or_else(|| crate::api::v1alpha1::Duration::from_secs(10), Provider::propagation),
    }
}

fn leftovers(left: &Left, elsewhere: &BTreeMap<String, bool>) -> Vec<Leftover> {
    let metas = || left.services.iter().map(|s| s.meta()).chain(left.deployments.iter().map(|d| d.meta()));
    let names: BTreeSet<&String> = metas().filter_map(|meta| meta.name.as_ref()).collect();
    let of = |name: &String| {
        let of_name = || metas().filter(|meta| meta.name.as_ref() == Some(name));
        let label = |key: &str| of_name().find_map(|meta| meta.labels.as_ref()?.get(key)).cloned();
        Leftover {
            revision: name.clone(),
            version: label(VERSION_LABEL).unwrap_or_default(),
            runs: left.deployments.iter().any(|d| d.name_any() == *name),
            serves: left.services.iter().any(|s| s.name_any() == *name),
            led_by: match (left.selected.contains(name), elsewhere.get(name)) {
                (true, _) => Some(Leads::Service),
                (false, Some(true)) => Some(Leads::Route),
                (false, Some(false)) => Some(Leads::Name),
                (false, None) => None,
            },
        }
    };
    names.into_iter().map(of).collect()
}

fn interpret_model(found: &FoundModel, known: &Known, elsewhere: &BTreeMap<String, bool>) -> Model {
    let object = &found.object;
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    Model {
        generation: object.metadata.generation.unwrap_or(0),
        latest: latest(known, found),
        workloads: workloads(found),
        elsewhere: elsewhere.keys().cloned().collect(),
        service: service(&name, found),
        requests: requests::pending(object.annotations(), &status),
        spec: object.spec.clone(),
        judgement: Judgement::default(),
        status,
        name,
    }
}

/// The revision that the spec asks for. One whose snapshot is stored needs nothing else, not even its runtime.
fn latest(known: &Known, found: &FoundModel) -> Result<Latest, Refusal> {
    let spec = &found.object.spec;
    let latest = Latest { revision: found.identity.name.clone(), version: spec.version().to_owned() };
    if found.revisions.iter().any(|r| r.name_any() == latest.revision) {
        return Ok(latest);
    }
    known.fresh(&found.object, found.runtime.as_deref())?;
    found.unfit.clone().map_or(Ok(latest), Err)
}

/// Of every revision that is stored or runs: somebody may have deleted the snapshot of one that serves. What an earlier model
/// has left of the latest one counts as it is: it may still be sent to.
fn workloads(found: &FoundModel) -> BTreeMap<String, Workload> {
    let stored = found.revisions.iter().map(|r| r.name_any());
    let uid = found.object.uid().unwrap_or_default();
    let runs = |d: &&Arc<Deployment>| is_owned(d.meta(), &uid) || d.name_any() == found.identity.name;
    let running = found.deployments.iter().filter(runs).map(|d| d.name_any());
    let names: BTreeSet<String> = stored.chain(running).collect();
    names.into_iter().map(|name| (name.clone(), workload(found, &name))).collect()
}

fn workload(found: &FoundModel, name: &str) -> Workload {
    let stored = found.revisions.iter().find(|r| r.metadata.name.as_deref() == Some(name));
    let deployment = found.deployments.iter().find(|d| d.metadata.name.as_deref() == Some(name));
    let labels = stored.map(|r| r.labels()).or(deployment.map(|d| d.labels()));
    let health = deployment.map(|d| workload::health(d)).unwrap_or_default();
    Workload {
        version: labels.and_then(|labels| labels.get(VERSION_LABEL)).cloned().unwrap_or_default(),
        created: stored.and_then(|r| r.creation_timestamp()).map(|t| t.0),
        desired: if deployment.is_some() { health.desired } else { 0 },
        // Counts of an earlier size say nothing about the present one.
        ready: if health.observed { health.ready.min(health.desired) } else { 0 },
        uncounted: deployment.is_some() && !health.observed,
        trouble: found.trouble.get(name).cloned().or_else(|| {
            health.message.map(|message| workload::Trouble { kind: workload::TroubleKind::NotReady, message })
        }),
    }
}

fn service(name: &str, found: &FoundModel) -> StableService {
    if let Some(live) = found.services.iter().find(|s| s.name_any() == name) {
        return StableService::On(selected(live));
    }
    if found.name_taken { StableService::Taken } else { StableService::Absent }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::{super::guard::Guard, *};
    use crate::revision;

    fn meta(name: &str, model: &str, owners: &[(&str, &str, bool)]) -> Value {
        let owner = |(kind, uid, controller): &(&str, &str, bool)| {
            json!({"apiVersion": "seatrial.dev/v1alpha1",
            "kind": kind, "name": if *kind == "TrafficSplit" { "iris" } else { model }, "uid": uid, "controller": controller})
        };
        json!({"name": name, "namespace": "ml", "uid": format!("uid-{name}"),
            "labels": {"seatrial.dev/model": model, "seatrial.dev/version": "1"},
            "ownerReferences": owners.iter().map(owner).collect::<Vec<_>>()})
    }

    fn model(uid: &str, image: &str) -> ModelDeployment {
        serde_json::from_value(json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "b", "namespace": "ml", "uid": uid},
            "spec": {"template": {"spec": {"containers": [
                {"name": "x", "image": image, "ports": [{"name": "http", "containerPort": 1}]}]}}}}))
        .unwrap()
    }

    fn split() -> Arc<TrafficSplit> {
        let split = json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "TrafficSplit",
            "metadata": {"name": "iris", "namespace": "ml", "uid": "split"},
            "spec": {"route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
                "backends": [{"modelDeploymentRef": {"name": "b"}}],
                "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
                "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}}});
        Arc::new(serde_json::from_value(split).unwrap())
    }

    const KEPT: (&str, &str, bool) = ("TrafficSplit", "split", false);
    const OLD: (&str, &str, bool) = ("ModelDeployment", "old", true);

    /// Given what an earlier model `b` (uid `old`) made for image `1`: with these owners, is it left, and does the model
    /// that is there now work with it?
    #[rstest]
    #[case::the_model_is_there(&[OLD, KEPT], &["b"], Some(("old", "1")), false, true)]
    #[case::deleted(&[KEPT], &["b"], None, true, false)]
    #[case::deleted_and_not_yet_collected(&[OLD, KEPT], &["b"], None, true, false)]
    #[case::deleted_and_no_backend_any_more(&[KEPT], &["a"], None, true, false)]
    #[case::made_anew_as_it_was(&[KEPT], &["b"], Some(("new", "1")), false, true)]
    #[case::made_anew_as_it_was_and_not_yet_collected(&[OLD, KEPT], &["b"], Some(("new", "1")), false, false)]
    #[case::made_anew_with_another_revision(&[KEPT], &["b"], Some(("new", "2")), true, true)]
    #[case::kept_by_another(&[("TrafficSplit", "other", false)], &["b"], None, false, false)]
    fn what_a_deleted_model_left_is_found(
        #[case] owners: &[(&str, &str, bool)],
        #[case] backends: &[&str],
        #[case] lives: Option<(&str, &str)>,
        #[case] is_left: bool,
        #[case] is_the_models: bool,
    ) {
        let name = revision::identity("b", &model("old", "1").spec).name;
        let mut cache = Cache::default();
        let of = |kind: &str| json!({"apiVersion": if kind == "Service" { "v1" } else { "apps/v1" }, "kind": kind, "metadata": meta(&name, "b", owners)});
        let _ = cache.services.take(Event::Apply(serde_json::from_value(of("Service")).unwrap()));
        let _ = cache.deployments.take(Event::Apply(serde_json::from_value(of("Deployment")).unwrap()));
        if let Some((uid, image)) = lives {
            let _ = cache.models.take(Event::Apply(Guard::of(model(uid, image))));
        }
        let named: Vec<Key> = backends.iter().map(|name| ("ml".to_owned(), (*name).to_owned())).collect();

        let found = find(&cache, &Known::default(), Some(&split()), &named);

        let expected = Leftover {
            revision: name.clone(),
            version: "1".to_owned(),
            runs: true,
            serves: true,
            led_by: None,
        };
        let expected: Vec<_> = is_left.then_some(expected).into_iter().collect();
        assert_eq!(leftovers(&found.left, &found.elsewhere), expected);
        let of_model = found.models.first().is_some_and(|m| {
            m.deployments.iter().any(|d| d.name_any() == name)
                && m.services.iter().any(|s| s.name_any() == name)
        });
        assert_eq!(of_model, is_the_models);
        let counts = found.models.first().is_some_and(|model| workloads(model).contains_key(&name));
        let is_latest = lives.is_some_and(|(_, image)| image == "1");
        assert_eq!(counts, is_the_models && is_latest, "at the size that it has");
    }

    #[rstest]
    #[case::by_the_service_of_its_model("b", true, None, Some(Leads::Service))]
    #[case::by_another_route("b", false, Some(true), Some(Leads::Route))]
    #[case::by_a_route_that_sends_nothing("b", false, Some(false), Some(Leads::Name))]
    #[case::by_both("b", true, Some(true), Some(Leads::Service))]
    #[case::by_nothing("b", false, None, None)]
    #[case::that_service_is_of_another_model("c", true, None, None)]
    fn what_else_leads_to_what_is_left_is_seen(
        #[case] service: &str,
        #[case] selects: bool,
        #[case] elsewhere: Option<bool>,
        #[case] led_by: Option<Leads>,
    ) {
        let mut cache = Cache::default();
        let left = json!({"metadata": meta("b-1", "b", &[KEPT])});
        let _ = cache.deployments.take(Event::Apply(serde_json::from_value(left).unwrap()));
        let revision = if selects { "b-1" } else { "b-2" };
        let service = json!({"metadata": meta(service, service, &[OLD]),
            "spec": {"selector": {"seatrial.dev/revision": revision}}});
        let _ = cache.services.take(Event::Apply(serde_json::from_value(service).unwrap()));
        let found = find(&cache, &Known::default(), Some(&split()), &[("ml".to_owned(), "b".to_owned())]);
        let elsewhere = elsewhere.map(|sends| ("b-1".to_owned(), sends)).into_iter().collect();
        let all: Vec<_> = leftovers(&found.left, &elsewhere).iter().map(|left| left.led_by).collect();
        assert_eq!(all, [led_by]);
    }

    /// Should the model be deleted, its pods stay until the route's proxies have heard of it.
    #[rstest]
    #[case::it_yields("split", &["b-1"], true)]
    #[case::of_another_model("split", &["a-1"], false)]
    #[case::it_was_deleted("before", &["b-1"], false)]
    fn what_a_route_names_of_a_model_that_nobody_has_is_kept_by_its_traffic_split(
        #[case] owner: &str,
        #[case] named: &[&str],
        #[case] keeps: bool,
    ) {
        let mut cache = Cache::default();
        let backends: Vec<_> =
            named.iter().map(|name| json!({"name": name, "port": 80, "weight": 1})).collect();
        let mut route = json!({"metadata": meta("iris", "", &[("TrafficSplit", owner, true)]),
                               "spec": {"parentRefs": [], "rules": [{"backendRefs": backends}]}});
        route["metadata"]["ownerReferences"][0]["name"] = json!("iris");
        let _ = cache.routes.take(Event::Apply(serde_json::from_value(route).unwrap()));
        let _ = cache.splits.take(Event::Apply(Guard(Ok(split()))));
        let key = ("ml".to_owned(), "b".to_owned());
        let found = find(&cache, &Known::default(), None, &[key]);
        assert_eq!(
            found.yielding.map(|split| (split.uid, split.controller)),
            keeps.then(|| (owner.to_owned(), None))
        );
    }
}
