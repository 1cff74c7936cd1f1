//! The OpenAPI 3.1 document, `/v1/openapi.json`.
//!
//! Paths, bodies and answers come from the handlers' own annotations. What is the same everywhere is added here: the
//! bearer token, and the problems that any call of a kind can end with.

use crate::problem::KINDS;
use cdn_types::api::v1::Problem;
use http::StatusCode;
use utoipa::{
    ToSchema,
    openapi::{
        ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
        ResponseBuilder,
        path::{Operation, ParameterIn, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

const ABOUT: &str = "The registry of a Nightfill fleet. Reading needs no token; writing needs one whose role the call \
    names. Errors are problem+json (RFC 9457) with a stable `type`: ";

fn about() -> String {
    let kinds = KINDS
        .iter()
        .map(|(name, status)| format!("`urn:nightfill:{name}` ({})", status.as_u16()));
    format!("{ABOUT}{}.", kinds.collect::<Vec<_>>().join(", "))
}

/// What the handlers' entries are added to.
pub fn head() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the role that the call names, or of role admin"))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(token))
        .schema(Problem::name(), <Problem as utoipa::PartialSchema>::schema())
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Nightfill control plane")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(about()))
                .build(),
        )
        .components(Some(components))
        .build()
}

/// Adds the problems to every call, and writes axum's wildcard as OpenAPI has it.
pub fn complete(mut document: OpenApi) -> OpenApi {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            add_problems(operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| operation.as_mut().map(|o| (method, o)))
}

/// `get_v1_appliances_id_plan`: handlers' own names are the same in several modules.
fn operation_id(method: &str, path: &str) -> String {
    let parts = path.split(|c: char| !c.is_ascii_alphanumeric());
    parts
        .filter(|p| !p.is_empty())
        .fold(method.to_owned(), |id, part| id + "_" + part)
}

fn add_problems(operation: &mut Operation) {
    let has = |place: &ParameterIn| {
        let parameters = operation.parameters.iter().flatten();
        parameters
            .into_iter()
            .any(|p| matches!(p, RefOr::T(p) if p.parameter_in == *place))
    };
    let mut problems = Vec::new();
    if has(&ParameterIn::Path) {
        problems.push((
            StatusCode::BAD_REQUEST,
            "A part of the address, the query or the body does not parse",
        ));
        problems.push((StatusCode::NOT_FOUND, "There is no such thing"));
    }
    if has(&ParameterIn::Query) || operation.request_body.is_some() {
        problems.push((
            StatusCode::BAD_REQUEST,
            "A part of the address, the query or the body does not parse",
        ));
    }
    if operation.security.is_some() {
        problems.push((StatusCode::UNAUTHORIZED, "No token, or one that is not known"));
        problems.push((StatusCode::FORBIDDEN, "The token's role does not allow this"));
    }
    if operation.request_body.is_some() {
        problems.push((
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is above the call's limit",
        ));
        problems.push((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is not application/json",
        ));
        problems.push((
            StatusCode::UNPROCESSABLE_ENTITY,
            "The body parses but breaks a rule",
        ));
    }
    for (status, about) in problems {
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| RefOr::T(problem(about)));
    }
    operation
        .responses
        .responses
        .insert("default".into(), RefOr::T(problem("Any other problem")));
}

fn problem(about: &str) -> Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new()
        .description(about)
        .content("application/problem+json", Content::new(Some(schema)))
        .build()
}
