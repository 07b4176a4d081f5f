use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};

#[derive(serde::Deserialize)]
pub struct Claims {
    pub sub: String,
    pub scope: String,
}

pub fn verify(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    scope: &str,
) -> Result<Claims, Box<dyn std::error::Error>> {
    let header = decode_header(token)?;
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or("unknown key")?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&["https://documents.example.com"]);
    let claims = decode::<Claims>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    if header.typ.as_deref() != Some("at+jwt") || !claims.scope.split(' ').any(|one| one == scope) {
        return Err("not an access token, or the scope is missing".into());
    }
    Ok(claims)
}
