//! Flags of `serve`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use super::values::{
    List, MetricsAddress, collector, host, issuer, metrics_address, network, origin, private_network, secret,
    secret_text,
};
use super::{LogFormat, StoreArgs, Switch};
use crate::adapters::issuers::{IssuerKeySettings, PrivateNetwork};
use crate::config::{
    AssertionAudience, Config, ConfigError, DEFAULT_ADDRESS_REQUESTS_PER_MINUTE, DEFAULT_BCRYPT_COST,
    DEFAULT_DELEGATION_DEPTH, DEFAULT_IDLE_TIMEOUT_SECONDS, DEFAULT_TOKEN_TTL_SECONDS, KeyConfig, Secrets,
    TraceConfig,
};
use crate::domain::delegation::DEPTHS;
use crate::domain::token::TTL_SECONDS;

/// Arguments of `serve`.
#[derive(Args, Debug, Clone)]
pub struct ServeArgs {
    /// Port to listen on; 0 for any free port
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// Address to listen on, or `localhost`
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Address of the Prometheus endpoint, or `off`
    #[arg(long, env = "METRICS_ADDR", default_value = "127.0.0.1:9464", value_parser = metrics_address)]
    pub metrics_addr: MetricsAddress,
    /// Locations and connection settings of the stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// Public URL of this service, used as the issuer of its tokens [default: http://HOST:PORT]
    #[arg(long, env = "ISSUER_URL", value_parser = issuer)]
    pub issuer_url: Option<String>,
    /// Private key that signs tokens, in PEM: RSA of 2048 to 4096 bits, P-256 or Ed25519; if omitted, one is
    /// generated at startup, or taken from FILE.key with a file; PostgreSQL needs it
    #[arg(long, env = "JWT_PRIVATE_KEY", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_private_key: Option<SecretString>,
    /// File that contains `JWT_PRIVATE_KEY`
    #[arg(long, env = "JWT_PRIVATE_KEY_FILE")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Additional public keys to publish and accept, in PEM: the next key and retired keys
    #[arg(long, env = "JWT_VERIFY_KEYS", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_verify_keys: Option<SecretString>,
    /// File that contains `JWT_VERIFY_KEYS`
    #[arg(long, env = "JWT_VERIFY_KEYS_FILE")]
    pub jwt_verify_keys_file: Option<PathBuf>,
    /// Lifetime of a token, in seconds
    #[arg(long, env = "TOKEN_TTL_SECONDS", default_value_t = DEFAULT_TOKEN_TTL_SECONDS,
          value_parser = clap::value_parser!(u32).range(i64::from(*TTL_SECONDS.start())..=i64::from(*TTL_SECONDS.end())))]
    pub token_ttl_seconds: u32,
    /// Greatest number of agents that act for one subject, each for the one before it
    #[arg(long, env = "MAX_DELEGATION_DEPTH", default_value_t = DEFAULT_DELEGATION_DEPTH,
          value_parser = clap::value_parser!(u32).range(i64::from(*DEPTHS.start())..=i64::from(*DEPTHS.end())))]
    pub max_delegation_depth: u32,
    /// bcrypt cost factor
    #[arg(long, env = "BCRYPT_COST", default_value_t = DEFAULT_BCRYPT_COST, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    /// Comma-separated origins whose scripts may call this API [default: none]
    #[arg(long, env = "CORS_ORIGIN", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, origin))]
    pub cors_origin: List<String>,
    /// Whether to serve the console, a page for people, at `/console`
    #[arg(long, env = "CONSOLE", value_enum, default_value_t = Switch::On)]
    pub console: Switch,
    /// Comma-separated CIDRs of proxies that are believed what they say in `X-Forwarded-*` and `X-Auth-Require-*` [default:
    /// none]
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, network))]
    pub trusted_proxies: List<IpNet>,
    /// Failed authentications allowed per client address and minute
    #[arg(long, env = "ADDRESS_REQUESTS_PER_MINUTE", default_value_t = DEFAULT_ADDRESS_REQUESTS_PER_MINUTE,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub address_requests_per_minute: u32,
    /// Accepted `aud` of client assertions: the issuer only, or the token endpoint URL too
    #[arg(long, env = "CLIENT_ASSERTION_AUDIENCE", value_enum, default_value_t = AssertionAudience::Issuer)]
    pub client_assertion_audience: AssertionAudience,
    /// Comma-separated `CIDR` or `CIDR:port` of private networks from which keys of trusted issuers may be fetched
    /// [default: none]
    #[arg(long, env = "ISSUER_PRIVATE_NETWORKS", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, private_network))]
    pub issuer_private_networks: List<PrivateNetwork>,
    /// File of certificates, in PEM, that trusted issuers may have in addition to those of the system
    #[arg(long, env = "ISSUER_CA_FILE")]
    pub issuer_ca_file: Option<PathBuf>,
    /// Log format
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// URL of an OpenTelemetry collector to which traces are sent by OTLP over HTTP; `/v1/traces` is added to it. The other
    /// standard variables `OTEL_*` are read too [default: no traces]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector)]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// URL of the collector for traces, used as it is
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = collector)]
    pub otel_exporter_otlp_traces_endpoint: Option<String>,
    /// Name of this service in traces
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "agentidp")]
    pub otel_service_name: String,
    /// Seconds that a connection may be idle between two requests; must exceed the idle time-out of the load balancer
    #[arg(long, env = "IDLE_TIMEOUT_SECONDS", default_value_t = DEFAULT_IDLE_TIMEOUT_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub idle_timeout_seconds: u32,
    /// Seconds to keep serving, reported as not ready, after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub drain_seconds: u32,
}

impl ServeArgs {
    /// Returns the settings of the service.
    ///
    /// Returns [`ConfigError`] if a secret and its file are both set, or if a file is unreadable or empty.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        Ok(Config {
            listen: SocketAddr::new(self.host, self.port),
            metrics: match self.metrics_addr {
                MetricsAddress::Off => None,
                MetricsAddress::At(address) => Some(address),
            },
            issuer: self.issuer_url.clone(),
            stores: self.stores.resolve()?,
            keys: self.keys()?,
            token_ttl_seconds: self.token_ttl_seconds,
            max_delegation_depth: self.max_delegation_depth,
            bcrypt_cost: self.bcrypt_cost,
            cors_origins: self.cors_origin.0.clone(),
            serves_console: self.console == Switch::On,
            trusted_proxies: self.trusted_proxies.0.clone(),
            address_requests_per_minute: self.address_requests_per_minute,
            client_assertion_audience: self.client_assertion_audience,
            issuer_keys: IssuerKeySettings {
                private_networks: self.issuer_private_networks.0.clone(),
                ca_file: self.issuer_ca_file.clone(),
            },
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds.into()),
            drain: Duration::from_secs(self.drain_seconds.into()),
        })
    }

    /// Returns where traces are sent; `None` if they are off.
    pub fn traces(&self) -> Option<TraceConfig> {
        let all = self.otel_exporter_otlp_endpoint.as_ref();
        let all = all.map(|url| format!("{}/v1/traces", url.trim_end_matches('/')));
        let endpoint = self.otel_exporter_otlp_traces_endpoint.clone().or(all)?;
        Some(TraceConfig { endpoint, service: self.otel_service_name.clone() })
    }

    /// Reads the secrets again that may be replaced while the service runs.
    ///
    /// What cannot be read does not keep the others from being replaced.
    pub fn secrets(&self) -> Secrets {
        let StoreArgs { redis_url, redis_url_file, .. } = &self.stores;
        Secrets {
            keys: self.keys(),
            database: self.stores.database(),
            redis: secret("REDIS_URL", redis_url.as_ref(), redis_url_file.as_ref()),
        }
    }

    fn keys(&self) -> Result<KeyConfig, ConfigError> {
        let private =
            secret("JWT_PRIVATE_KEY", self.jwt_private_key.as_ref(), self.jwt_private_key_file.as_ref())?;
        let public =
            secret("JWT_VERIFY_KEYS", self.jwt_verify_keys.as_ref(), self.jwt_verify_keys_file.as_ref())?;
        Ok(KeyConfig {
            private: private.map(|pem| unescaped(pem.expose_secret()).into()),
            private_file: self.jwt_private_key_file.clone(),
            public: public.map(|keys| unescaped(keys.expose_secret())).unwrap_or_default(),
            public_file: self.jwt_verify_keys_file.clone(),
        })
    }
}

/// Replaces each escaped `\n` by a line end, because environment variables often contain PEM in that form.
fn unescaped(pem: &str) -> String {
    pem.replace("\\n", "\n")
}
