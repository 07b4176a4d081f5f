//! Forms, as the OAuth endpoints accept them (RFC 6749 appendix B).

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::ApiError;
use crate::extract::context::HttpContext;
use crate::extract::media::{self, Charset};
use crate::extract::wire::inline;
use crate::extract::{decode_with_nul, described};
use app::client_auth::{ClientAuthError, FormParameter, form_parameters};

/// A form: what it is called, and its parameters.
pub trait FormFields: Send + 'static {
    /// Name of the schema.
    const NAME: &'static str;
    /// Description of the schema.
    const DESCRIPTION: &'static str;
    /// Parameters in addition to those of client authentication, in the order of the document.
    const FIELDS: &'static [FormField];

    /// Returns the only values that a parameter may have; none if it may have others.
    fn values(_: &FormField) -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns parameters that others declare, apart from those of client authentication.
    fn further() -> Vec<FormParameter> {
        Vec::new()
    }
}

/// A parameter of a form.
pub struct FormField {
    /// Name on the wire.
    pub name: &'static str,
    /// Description, in Markdown.
    pub description: &'static str,
    occurs: Occurs,
}

/// How often a parameter occurs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occurs {
    Once,
    AtMostOnce,
    /// Any number of times (RFC 8707 section 2).
    Repeatedly,
}

impl FormField {
    /// Declares a parameter without which the request is refused.
    pub const fn required(name: &'static str, description: &'static str) -> Self {
        Self { name, description, occurs: Occurs::Once }
    }

    /// Declares a parameter that may be absent.
    pub const fn optional(name: &'static str, description: &'static str) -> Self {
        Self { name, description, occurs: Occurs::AtMostOnce }
    }

    /// Declares a parameter that may occur several times.
    pub const fn repeated(name: &'static str, description: &'static str) -> Self {
        Self { name, description, occurs: Occurs::Repeatedly }
    }
}

/// Returns the schema of a form.
fn schema<T: FormFields>() -> MetaSchema {
    // Stores refuse the NUL character.
    let text = || MetaSchema { pattern: Some(r"^[^\x00]*$".to_owned()), ..MetaSchema::new("string") };
    let own = T::FIELDS.iter().map(|field| {
        let enum_items: Vec<_> = T::values(field).into_iter().map(Into::into).collect();
        let schema = if enum_items.is_empty() {
            MetaSchema { min_length: (field.occurs == Occurs::Once).then_some(1), ..text() }
        } else {
            MetaSchema { enum_items, ..MetaSchema::new("string") }
        };
        (field.name, field.description, schema)
    });
    let further = T::further().into_iter().chain(form_parameters());
    let further = further.map(|parameter| (parameter.name, parameter.description, text()));
    let property = |(name, description, schema)| (name, described(inline(schema), description, None));
    MetaSchema {
        title: Some(T::NAME.to_owned()),
        description: Some(T::DESCRIPTION),
        required: T::FIELDS
            .iter()
            .filter(|field| field.occurs == Occurs::Once)
            .map(|field| field.name)
            .collect(),
        properties: own.chain(further).map(property).collect(),
        additional_properties: Some(Box::new(inline(text()))),
        ..MetaSchema::new("object")
    }
}

/// A form, described as `T`. An empty parameter counts as absent; an unknown one is ignored.
///
/// Errors are OAuth's `invalid_request`, and count against the client address.
pub struct Form<T> {
    values: Vec<(&'static str, String)>,
    /// Parameters of client authentication, which every form may have.
    credentials: Vec<(&'static str, SecretString)>,
    repeated: Vec<(&'static str, String)>,
    described_as: std::marker::PhantomData<T>,
}

impl<T: FormFields> Form<T> {
    /// Returns a parameter; `None` if it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.iter().find(|(known, _)| *known == name)?.1.as_str();
        (!value.is_empty()).then_some(value)
    }

    /// Returns each non-empty value of a parameter that may occur several times.
    pub fn repeated(&self, name: &str) -> Vec<String> {
        let values = self.repeated.iter().filter(|(known, _)| *known == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// Returns the parameters of client authentication, none of them empty.
    pub fn credentials(&self) -> Vec<(&'static str, SecretString)> {
        let is_present = |(_, value): &&(&'static str, SecretString)| !value.expose_secret().is_empty();
        self.credentials.iter().filter(is_present).cloned().collect()
    }

    /// Parses a form; `additional` and `credentials` list parameters in addition to those of the type.
    fn parse(
        body: &[u8],
        additional: &[&'static str],
        credentials: &(impl Iterator<Item = &'static str> + Clone),
    ) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "the form is not valid UTF-8")?;
        let mut form = Self {
            values: Vec::new(),
            credentials: Vec::new(),
            repeated: Vec::new(),
            described_as: std::marker::PhantomData,
        };
        const REPEATED: &str = "a parameter appears more than once in the form";
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode_with_nul(name).zip(decode_with_nul(value));
            let (name, value) = decoded.ok_or("the form is not valid percent-encoded UTF-8")?;
            if name.contains('\0') || value.contains('\0') {
                return Err("a parameter contains the NUL character");
            }
            let declared = T::FIELDS.iter().find(|field| field.name == name);
            if let Some(field) = declared.filter(|field| field.occurs == Occurs::Repeatedly) {
                if !value.is_empty() {
                    form.repeated.push((field.name, value.into_owned()));
                }
            } else if let Some(known) = credentials.clone().find(|known| *known == name) {
                if form.credentials.iter().any(|(earlier, _)| *earlier == known) {
                    return Err(REPEATED);
                }
                form.credentials.push((known, value.into_owned().into()));
            } else if let Some(known) = declared
                .map(|field| field.name)
                .or_else(|| additional.iter().copied().find(|known| *known == name))
            {
                if form.values.iter().any(|(earlier, _)| *earlier == known) {
                    return Err(REPEATED);
                }
                form.values.push((known, value.into_owned()));
            }
        }
        Ok(form)
    }
}

impl<'a, T: FormFields> ApiExtractor<'a> for Form<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_schema::<T, _>(T::NAME.to_owned(), |_| schema::<T>());
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType {
            content_type: MEDIA_TYPE,
            schema: MetaSchemaRef::Reference(T::NAME.to_owned()),
        }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let bytes =
            body.take()?.into_bytes().await.map_err(|_| ApiError::internal("the body was read before"))?;
        let context = HttpContext::of(request)?;
        let parse = || {
            let further: Vec<_> = T::further().iter().map(|parameter| parameter.name).collect();
            Self::parse(&bytes, &further, &form_parameters().map(|parameter| parameter.name))
                .map_err(str::to_owned)
        };
        match check_request(request).and_then(|()| parse()) {
            Ok(form) => Ok(form),
            Err(description) => {
                context
                    .app
                    .auth_failures
                    .count(&context.request)
                    .await
                    .map_err(ClientAuthError::from)
                    .map_err(ApiError::from)?;
                Err(ApiError::invalid_request(description).into())
            }
        }
    }
}

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Checks that the body is a form, and that the URI has no parameters (RFC 6749 section 2.3.1).
fn check_request(request: &Request) -> Result<(), String> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err("parameters belong in the body, not in the URI".to_owned());
    }
    media::check(request.headers(), MEDIA_TYPE, Charset::Any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A form with two parameters of its own.
    struct Sample;

    impl FormFields for Sample {
        const NAME: &'static str = "Sample";
        const DESCRIPTION: &'static str = "A sample";
        const FIELDS: &'static [FormField] = &[
            FormField::optional("scope", ""),
            FormField::optional("token", ""),
            FormField::repeated("resource", ""),
        ];
    }

    fn parse(body: &str) -> Result<Form<Sample>, &'static str> {
        Form::parse(body.as_bytes(), &["subject_token"], &["client_id"].into_iter())
    }

    #[test]
    fn a_known_parameter_stands_once_and_an_unknown_one_as_often_as_it_likes() {
        assert!(parse("scope=a&scope=a").is_err());
        assert!(parse("scope=&scope=a").is_err());
        assert!(parse("client_id=&client_id=a").is_err());
        assert!(parse("subject_token=a&subject_token=a").is_err());
        assert_eq!(parse("subject_token=a").expect("well formed").get("subject_token"), Some("a"));
        let form = parse("x=1&x=2&scope=a+b&client_id=&resource=r&resource=s").expect("well formed");
        assert_eq!((form.get("scope"), form.get("x"), form.credentials().len()), (Some("a b"), None, 0));
        assert_eq!(form.repeated("resource"), ["r", "s"]);
    }

    #[test]
    fn malformed_encoding_is_refused_anywhere() {
        for body in
            ["scope=%zz", "x=%", "%ff=1", "x=%00", "%00=1", "token=%00", "client_id=%00", "scope=%c0%80"]
        {
            assert!(parse(body).is_err(), "{body}");
        }
        assert!(Form::<Sample>::parse(b"scope=\xff", &[], &std::iter::empty()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = Form::<Sample>::parse(&body, &[], &std::iter::empty());
        }
    }
}
