//! What data planes and model servers really export, line by line, against what the packs ask for.
//! Envoy 1.40 and MLServer 1.7.1 as scraped here; Istio and Linkerd as their documentation and users show it.

use promql_parser::{label::METRIC_NAME, parser};
use rstest::rstest;

use super::{
    tests::{latency, provider, question},
    *,
};

/// Whether the pack's query of this role would find the line.
fn finds(pack: &str, role: Role, line: &str) -> bool {
    let indicator = if role == Role::Within { latency() } else { Indicator::Errors };
    let asked = queries(&question(indicator), &provider(pack)).unwrap();
    let query = asked.iter().find(|query| query.role == role).unwrap();
    let selector = |promql: &str| match parser::parse(promql).unwrap() {
        parser::Expr::VectorSelector(selector) => selector,
        other => panic!("{other}"),
    };
    let (wanted, line) = (selector(&query.promql), selector(line));
    let label = |name: &str| {
        let found = line.matchers.matchers.iter().find(|label| label.name == name);
        found.map_or("", |label| &label.value).to_owned()
    };
    wanted.name == line.name
        && wanted.matchers.matchers.iter().all(|m| m.name != METRIC_NAME && m.is_match(&label(&m.name)))
}

#[rstest]
#[case("contour", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="ml_iris-new_80"}"#, [true, false])]
#[case("contour", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="ml_iris-old_80"}"#, [true, true])]
#[case("contour", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="ml_iris_80"}"#, [false, false])]
#[case("contour", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="ml_iris-new_9000"}"#, [false, false])]
#[case("contour", r#"envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="ml_iris-new_80"}"#, [false, false])]
#[case("envoy-gateway", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="service/ml/iris-new/80"}"#, [true, true])]
#[case("envoy-gateway", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="httproute/ml/iris/rule/0/backend/1"}"#, [false, false])]
#[case("envoy-mesh", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||iris-new.ml.svc.cluster.local"}"#, [true, true])]
#[case("envoy-mesh", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||iris.ml.svc.cluster.local"}"#, [false, false])]
#[case("envoy-mesh", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||iris-newXmlXsvc.cluster.local"}"#, [false, false])]
#[case("istio", r#"istio_requests_total{reporter="source",response_code="200",destination_service_name="iris-new",destination_service_namespace="ml",destination_workload="unknown"}"#, [true, false])]
#[case("istio", r#"istio_requests_total{reporter="source",response_code="503",destination_service_name="iris-old",destination_service_namespace="ml"}"#, [true, true])]
#[case("istio", r#"istio_requests_total{reporter="source",response_code="0",destination_service_name="iris-new",destination_service_namespace="ml"}"#, [false, false])]
#[case("istio", r#"istio_requests_total{reporter="destination",response_code="503",destination_service_name="iris-new",destination_service_namespace="ml"}"#, [false, false])]
#[case("linkerd", r#"response_total{direction="inbound",classification="failure",namespace="ml",deployment="iris-new",route_name="default"}"#, [true, true])]
#[case("linkerd", r#"response_total{direction="inbound",classification="success",namespace="ml",deployment="iris-new"}"#, [true, false])]
#[case("linkerd", r#"response_total{direction="outbound",classification="failure",namespace="ml",deployment="iris-new"}"#, [false, false])]
#[case("linkerd", r#"response_total{direction="inbound",classification="success",namespace="ml",deployment="iris-new",route_name="probe"}"#, [false, false])]
#[case("pods", r#"rest_server_requests_total{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status_code="200",namespace="ml",rev="iris-new"}"#, [true, false])]
#[case("pods", r#"rest_server_requests_total{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status_code="500",namespace="ml",rev="iris-new"}"#, [true, true])]
#[case("pods", r#"rest_server_requests_total{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status_code="422",namespace="ml",rev="iris-new"}"#, [true, false])]
#[case("pods", r#"rest_server_requests_total{app_name="mlserver",method="GET",path="/v2/models/{model_name}/ready",status_code="500",namespace="ml",rev="iris-new"}"#, [false, false])]
#[case("pods", r#"rest_server_requests_total{path="/v2/models/{model_name}/infer",status_code="500",namespace="other",rev="iris-new"}"#, [false, false])]
fn requests_and_errors_are_those_of_the_two_revisions(
    #[case] pack: &str,
    #[case] line: &str,
    #[case] want: [bool; 2],
) {
    assert_eq!([Role::Total, Role::Bad].map(|role| finds(pack, role, line)), want);
}

#[rstest]
#[case("contour", r#"envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ml_iris-new_80",le="10"}"#)]
#[case(
    "envoy-gateway",
    r#"envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="service/ml/iris-new/80",le="10"}"#
)]
#[case("envoy-mesh", r#"envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="outbound|80||iris-new.ml.svc.cluster.local",le="10"}"#)]
#[case("istio", r#"istio_request_duration_milliseconds_bucket{reporter="source",response_code="200",destination_service_name="iris-new",destination_service_namespace="ml",le="10"}"#)]
#[case(
    "linkerd",
    r#"response_latency_ms_bucket{direction="inbound",namespace="ml",deployment="iris-new",le="10"}"#
)]
#[case("pods", r#"rest_server_request_duration_seconds_bucket{app_name="mlserver",le="0.005",method="POST",path="/v2/models/{model_name}/infer",status_code="200",namespace="ml",rev="iris-new"}"#)]
fn buckets_are_found(#[case] pack: &str, #[case] line: &str) {
    assert!(finds(pack, Role::Within, line));
    assert!(!finds(pack, Role::Within, &line.replace("iris-new", "iris")));
}
