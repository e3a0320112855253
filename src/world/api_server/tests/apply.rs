//! Who owns which field.

use super::*;
use crate::world::api_server::{
    fields::{Set, Step},
    managed::{Id, Managed, Writer},
    merge::compare,
};

fn writer(kind: &'static Kind, name: &str, applies: bool) -> Writer<'static> {
    let id = Id { applies, name: name.to_owned(), api_version: kind.api_version(), subresource: "" };
    Writer { schema: kind.schema(), kind: kind.name, id, now: "now".to_owned(), ignored: Set::default() }
}

fn apply(
    managed: &Managed,
    live: &Value,
    config: &Value,
    name: &str,
    force: bool,
) -> Result<(Value, Managed), Refused> {
    writer(Kind::named("Deployment"), name, true).applied(managed, Some(live), config, force, ("", ""))
}

fn containers(list: &Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[test]
fn an_entry_that_somebody_else_owns_too_loses_only_what_was_mine_alone() {
    let none = Managed::default();
    let mine =
        containers(&json!([{"name": "m", "image": "1", "args": ["a"]}, {"name": "side", "image": "2"}]));
    let theirs = containers(&json!([{"name": "m", "image": "1"}]));
    let (live, managed) = apply(&none, &json!({}), &mine, "me", false).unwrap();
    let (live, managed) = apply(&managed, &live, &theirs, "you", false).unwrap();
    let (live, managed) = apply(&managed, &live, &json!({"spec": {"replicas": 1}}), "me", false).unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"], json!([{"name": "m", "image": "1"}]));
    assert_eq!(managed.len(), 2);
}

#[test]
fn entries_come_in_the_order_in_which_they_are_applied() {
    let live = containers(&json!([{"name": "a"}, {"name": "other"}, {"name": "b"}]));
    let config = containers(&json!([{"name": "b"}, {"name": "a"}]));
    let (new, _) = apply(&Managed::default(), &live, &config, "me", true).unwrap();
    let names: Vec<&Value> = new["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["other", "b", "a"]);
}

#[test]
fn an_atomic_list_is_taken_as_a_whole() {
    let kind = Kind::named("HTTPRoute");
    let route =
        |weight: i32| json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "weight": weight}]}]}});
    let (live, managed) =
        writer(kind, "me", true).applied(&Managed::default(), None, &route(1), false, ("", "")).unwrap();
    let taken = writer(kind, "you", true).applied(&managed, Some(&live), &route(2), false, ("", ""));
    let refused = taken.unwrap_err();
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"me\": .spec.rules");
    let (_, managed) =
        writer(kind, "you", true).applied(&managed, Some(&live), &route(2), true, ("", "")).unwrap();
    assert_eq!(managed.iter().map(|m| m.id.name.as_str()).collect::<Vec<_>>(), ["you"]);
}

#[test]
fn a_port_without_a_protocol_is_the_same_port() {
    let schema = Kind::named("Deployment").schema();
    let port = |port: Value| containers(&json!([{"name": "m", "ports": [port]}]));
    let before = port(json!({"containerPort": 80, "protocol": "TCP"}));
    let difference =
        compare(schema, &before, &port(json!({"containerPort": 80, "protocol": "TCP", "name": "http"})));
    assert_eq!(
        difference.added.paths(),
        [".spec.template.spec.containers[name=\"m\"].ports[containerPort=80,protocol=\"TCP\"].name"]
    );
    let same = compare(schema, &before, &port(json!({"containerPort": 80})));
    assert!(same.added.is_empty() && same.removed.paths().len() == 1, "{same:?}");
}

#[test]
fn sets_are_joined_cut_and_told_apart() {
    let set = |paths: &[&[&str]]| {
        let mut set = Set::default();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|step| Step::Field((*step).to_owned())).collect();
            set.insert(&steps);
        }
        set
    };
    let (a, b) = (set(&[&["x"], &["x", "y"], &["z"]]), set(&[&["x"], &["z", "w"]]));
    assert_eq!(a.clone().union(&b), set(&[&["x"], &["x", "y"], &["z"], &["z", "w"]]));
    assert_eq!(a.intersection(&b), set(&[&["x"]]));
    assert_eq!(a.difference(&b), set(&[&["x", "y"], &["z"]]));
    assert_eq!(a.without(&b), set(&[&["z"]]));
    assert_eq!(serde_json::to_value(&a).unwrap(), json!({"f:x": {".": {}, "f:y": {}}, "f:z": {}}));
}

mod laws {
    use proptest::prelude::*;

    use super::*;
    use crate::world::api_server::merge::{mentioned, merge};

    fn spec() -> impl Strategy<Value = Value> {
        let container = ("[ab]", "[xy]", proptest::collection::vec("[pq]", 0..3))
            .prop_map(|(name, image, args)| json!({"name": name, "image": image, "args": args}));
        let replicas = proptest::option::of(0..3_i32);
        (proptest::collection::vec(container, 0..3), replicas).prop_map(|(mut list, replicas)| {
            list.sort_by_key(|c| c["name"].to_string());
            list.dedup_by_key(|c| c["name"].to_string());
            let mut object = containers(&json!(list));
            if let Some(replicas) = replicas {
                object["spec"]["replicas"] = json!(replicas);
            }
            object
        })
    }

    proptest! {
        #[test]
        fn what_is_applied_is_there_and_applying_it_again_changes_nothing(live in spec(), config in spec()) {
            let schema = Kind::named("Deployment").schema();
            let (new, managed) = apply(&Managed::default(), &live, &config, "me", true).unwrap();
            prop_assert_eq!(merge(schema, Some(&new), Some(&config)).unwrap(), new.clone());
            let (again, same) = apply(&managed, &new, &config, "me", true).unwrap();
            prop_assert_eq!((again, same), (new, managed));
        }

        #[test]
        fn nothing_differs_from_itself_and_everything_new_is_mentioned(old in spec(), new in spec()) {
            let schema = Kind::named("Deployment").schema();
            let none = compare(schema, &old, &old);
            prop_assert!(none.added.is_empty() && none.removed.is_empty() && none.modified.is_empty());
            let difference = compare(schema, &old, &new);
            let gained = difference.added.clone().union(&difference.modified);
            let all = mentioned(schema, &new).with_named(schema);
            prop_assert_eq!(gained.difference(&all), Set::default());
        }
    }
}
