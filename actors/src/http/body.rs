//! Request bodies: read within a limit, parsed, and checked against the contract's JSON Schema, so that every wrong field
//! is named at once.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, dev, web};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use garde::Validate;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{FieldProblem, Problem};

/// Largest request body.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// A request body that is JSON. What is not is refused as a [`Problem`]: 415, 413 or 400.
#[derive(Debug)]
pub struct Body(pub Value);

impl Body {
    /// The body as a valid `T`.
    ///
    /// # Errors
    /// 422 with one entry per field that is missing or wrong.
    pub fn read<T>(&self) -> Result<T, Problem>
    where
        T: DeserializeOwned + JsonSchema + Validate<Context = ()> + 'static,
    {
        check(&self.0, "").map_err(Problem::fields)
    }
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let media_type = check_media_type(request);
        let declared = request.headers().get(actix_web::http::header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let payload = web::Payload::from_request(request, payload);
        async move {
            media_type?;
            if declared.is_some_and(|length| length > MAX_BODY_BYTES) {
                return Err(too_large());
            }
            let payload = payload.await.map_err(|error| unreadable(&error))?;
            let bytes = match payload.to_bytes_limited(MAX_BODY_BYTES).await {
                Err(_) => return Err(too_large()),
                Ok(Err(error)) => return Err(unreadable(&error)),
                Ok(Ok(bytes)) => bytes,
            };
            serde_json::from_slice(&bytes)
                .map(Self)
                .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))
        }
        .boxed_local()
    }
}

fn check_media_type(request: &HttpRequest) -> Result<(), Problem> {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let detail =
        format!("send application/json, not {}", if given.is_empty() { "a body without a type" } else { given });
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY_BYTES} bytes"))
}

fn unreadable(error: &actix_web::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
}

/// Decodes a value that is at `base` (a JSON pointer) in the request.
///
/// # Errors
/// One entry per field that is missing or wrong.
pub(crate) fn check<T>(value: &Value, base: &str) -> Result<T, Vec<FieldProblem>>
where
    T: DeserializeOwned + JsonSchema + Validate<Context = ()> + 'static,
{
    let mut problems: Vec<FieldProblem> = validator::<T>()
        .iter_errors(value)
        .map(|error| {
            let at = format!("{base}{}", error.instance_path());
            match error.kind() {
                // The schema names the object; the one who asks wants the field.
                ValidationErrorKind::Required { property } => {
                    let name = property.as_str().unwrap_or_default().replace('~', "~0").replace('/', "~1");
                    FieldProblem { pointer: format!("{at}/{name}"), detail: "is missing".to_owned() }
                }
                _ => FieldProblem { pointer: at, detail: bounded(&error.masked().to_string()) },
            }
        })
        .collect();
    problems.sort_by(|one, other| one.pointer.cmp(&other.pointer));
    problems.dedup_by(|one, other| one.pointer == other.pointer);
    if !problems.is_empty() {
        return Err(problems);
    }
    // What the schema cannot say: numbers out of range of the type, rules of `garde` without a keyword.
    let whole = |detail: String| vec![FieldProblem { pointer: base.to_owned(), detail }];
    let decoded: T = T::deserialize(value).map_err(|error| whole(bounded(&error.to_string())))?;
    decoded.validate().map_err(|report| {
        report
            .iter()
            .map(|(path, error)| FieldProblem {
                pointer: format!("{base}/{}", path.to_string().replace(['.', '['], "/").replace(']', "")),
                detail: error.to_string(),
            })
            .collect::<Vec<_>>()
    })?;
    Ok(decoded)
}

/// A message that quotes the request is cut: it goes back in the response.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(300)].to_owned()
}

/// The compiled schema of a type; made once per type and kept, for there are only as many as contracts.
fn validator<T: JsonSchema + 'static>() -> &'static Validator {
    static KNOWN: LazyLock<Mutex<HashMap<TypeId, &'static Validator>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(TypeId::of::<T>()).or_insert_with(|| {
        let schema = schemars::schema_for!(T);
        let compiled = jsonschema::validator_for(schema.as_value());
        Box::leak(Box::new(compiled.expect("a derived schema is a valid schema")))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema, Validate)]
    #[serde(rename_all = "camelCase")]
    struct Sample {
        #[garde(skip)]
        user_id: u64,
        #[garde(length(min = 1, max = 3))]
        name: String,
    }

    fn pointers(value: &Value) -> Vec<String> {
        check::<Sample>(value, "/message").unwrap_err().into_iter().map(|problem| problem.pointer).collect()
    }

    #[test]
    fn every_wrong_field_is_named_once_by_its_pointer() {
        assert_eq!(pointers(&json!({})), ["/message/name", "/message/userId"]);
        assert_eq!(pointers(&json!({"userId": "1", "name": ""})), ["/message/name", "/message/userId"]);
        assert_eq!(pointers(&json!({"userId": -1, "name": "abcd"})), ["/message/name", "/message/userId"]);
        assert_eq!(pointers(&json!([])), ["/message"]);
        // A number that only the type refuses: the schema has no keyword for it, so the whole is named.
        assert_eq!(pointers(&json!({"userId": 1e300, "name": "a"})), ["/message"]);
        let good = check::<Sample>(&json!({"userId": 1, "name": "abc", "more": true}), "").unwrap();
        assert_eq!(good, Sample { user_id: 1, name: "abc".into() });
    }
}
