//! The program: parses arguments, runs a command, returns an exit code.

use std::error::Error;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::http::{openapi, yaml};
use agentidp::adapters::system::{check_limits, keep_memory_private};
use agentidp::cli::{
    BootstrapArgs, Cli, Command, CopyArgs, DocumentFormat, KeysCommand, LogFormat, ServeArgs, StoreArgs,
};
use agentidp::config::{ConfigError, KeyConfig, Secrets};
use agentidp::ports::error_chain::error_chain;
use agentidp::wiring::{self, Service, StartError, StoreKind, Telemetry, log_to_stderr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Interval at which the files of secrets are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Exit code for invalid settings.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return wrong(&Cli::explained(&error)),
        Err(help) => {
            // Help and version: a failure to print them cannot be reported anywhere.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(StartError::Config(error)) => wrong(&error.to_string()),
        Err(error) => {
            complain(&error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, StartError> {
    let done = match &cli.command {
        Some(Command::Client(invocation)) => return Ok(ExitCode::from(invocation.run(Cli::program()))),
        None => serve(&cli.serve),
        Some(Command::Serve(args)) => serve(args),
        Some(Command::Bootstrap(args)) => bootstrap(args),
        Some(Command::Migrate(stores)) => migrate(stores),
        Some(Command::Copy(args)) => copy(args),
        Some(Command::Backup { folder, stores }) => backup(stores, folder.clone()),
        Some(Command::Keys { command: KeysCommand::Generate { kind } }) => {
            let pem =
                generate_pem((*kind).into()).map_err(|error| ConfigError::new(format!("the key {error}")))?;
            print(&pem)
        }
        Some(Command::Openapi { format }) => {
            let document = openapi("");
            match format {
                DocumentFormat::Yaml => print(&yaml(&document)),
                DocumentFormat::Json => print(&format!("{document:#}\n")),
            }
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn serve(args: &ServeArgs) -> Result<(), StartError> {
    check_limits()?;
    let telemetry = Telemetry::start(args.log_format, args.traces().as_ref())?;
    let runtime = tokio::runtime::Runtime::new().map_err(StartError::Io)?;
    let outcome = runtime.block_on(serve_until_signal(args, &telemetry));
    // A DNS lookup in progress cannot be interrupted, so the exit waits for one second at most.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve_until_signal(args: &ServeArgs, telemetry: &Telemetry) -> Result<(), StartError> {
    keep_memory_private();
    let config = args.resolve()?;
    let mut end = EndSignals::listen().map_err(StartError::Io)?;
    let mut reload = signal(SignalKind::hangup()).map_err(StartError::Io)?;
    let service = tokio::select! {
        started = Service::start(&config) => started?,
        () = end.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    service.read_at_scrape(telemetry.report());
    if !service.store.is_durable() {
        tracing::warn!(
            "using in-memory storage; all data is lost on exit; --data FILE or DATABASE_URL keeps it"
        );
    }
    if config.issuer.is_none() && service.address.ip().is_unspecified() {
        tracing::warn!(
            issuer = %service.issuer,
            "clients cannot reach the issuer that tokens name; set ISSUER_URL to the URL that clients use"
        );
    }
    tracing::info!(address = %service.address, issuer = %service.issuer, "ready");
    let welcome = match args.log_format {
        LogFormat::Text => welcome(&service, config.serves_console),
        LogFormat::Json => format!("{}\n", welcome_json(&service, config.serves_console)),
    };
    if let Err(error) = print(&welcome) {
        tracing::warn!(error = &error as &dyn Error, "cannot write to standard output");
    }
    let mut secrets = SecretFiles { args, service: &service, faults: Vec::new(), seen: config.keys.clone() };
    let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = reload.recv() => {
                secrets.faults.clear();
                if !secrets.reload(&args.secrets()) {
                    tracing::info!("no secret has changed");
                }
            }
            _ = look.tick() => secrets.look(),
            () = end.next() => break,
        }
    }
    tracing::info!("shutting down; signal again to exit immediately");
    tokio::select! {
        () = service.end() => tracing::info!("stopped"),
        () = end.next() => return Err(StartError::CutShort),
    }
    Ok(())
}

/// The files of the secrets that may be replaced while the service runs.
struct SecretFiles<'a> {
    args: &'a ServeArgs,
    service: &'a Service,
    /// Faults that the last look has found, so that each is logged once.
    faults: Vec<String>,
    /// Keys that the last look has found.
    seen: KeyConfig,
}

impl SecretFiles<'_> {
    /// Reads the secrets again, and uses those that have changed from now on.
    ///
    /// New keys are used once two looks have found the same: they are in two files, of which one may still be written.
    fn look(&mut self) {
        let mut secrets = self.args.secrets();
        if let Ok(keys) = &secrets.keys
            && !keys.is_same(&self.seen)
        {
            let found = keys.clone();
            secrets.keys = Ok(self.service.keys());
            self.seen = found;
        }
        self.reload(&secrets);
    }

    /// Uses those of the secrets that have changed from now on. Returns whether there were any, or a fault.
    fn reload(&mut self, secrets: &Secrets) -> bool {
        let mut faults = Vec::new();
        let mut has_changed = false;
        for (name, outcome) in self.service.reload(secrets) {
            has_changed |= !matches!(outcome, Ok(false));
            match outcome {
                Ok(true) => tracing::info!("reloaded the {name}"),
                Ok(false) => {}
                Err(error) => {
                    let error = error_chain(&error);
                    if !self.faults.contains(&error) {
                        tracing::error!(error, "cannot reload the {name}; what is in use stays in use");
                    }
                    faults.push(error);
                }
            }
        }
        self.faults = faults;
        has_changed
    }
}

#[tokio::main(flavor = "current_thread")]
async fn bootstrap(args: &BootstrapArgs) -> Result<(), StartError> {
    log_to_stderr();
    let administrator =
        wiring::bootstrap(&args.stores.resolve_database()?, args.bcrypt_cost, args.recover).await?;
    let (id, secret) = (administrator.client_id, administrator.client_secret.expose());
    print(&format!("client_id:     {id}\nclient_secret: {secret}\n"))
}

#[tokio::main(flavor = "current_thread")]
async fn migrate(stores: &StoreArgs) -> Result<(), StartError> {
    log_to_stderr();
    wiring::migrate_tables(&stores.resolve_database()?).await?;
    print("the tables are up to date\n")
}

#[tokio::main(flavor = "current_thread")]
async fn backup(stores: &StoreArgs, folder: PathBuf) -> Result<(), StartError> {
    log_to_stderr();
    let text = format!("the backup is in {}\n", folder.display());
    wiring::backup(&stores.resolve_database()?, folder).await?;
    print(&text)
}

#[tokio::main]
async fn copy(args: &CopyArgs) -> Result<(), StartError> {
    log_to_stderr();
    let rows = wiring::copy(&args.from, &args.target()?).await?;
    print(&format!(
        "{rows} rows were copied and compared; serve them with the key of the file: JWT_PRIVATE_KEY_FILE\n"
    ))
}

/// Returns the welcome text, with the next steps for new users.
fn welcome(service: &Service, has_console: bool) -> String {
    let url = format!("http://{}", service.address);
    let mut pages = if has_console { format!("Open the console: {url}/console\n") } else { String::new() };
    if cfg!(feature = "book") {
        pages += &format!("Read the book: {url}/docs/book/\n");
    }
    let Some(administrator) = &service.administrator else {
        let next = match service.store {
            StoreKind::Server => "The first administrator is made by: agentidp bootstrap\n\n",
            StoreKind::Memory | StoreKind::File => "",
        };
        return format!(
            "\nAgentIdP serves {}\n\n{next}{pages}Explore the API: {url}/docs\n\n",
            service.issuer
        );
    };
    let (id, secret) = (administrator.client_id, administrator.client_secret.expose());
    let issuer = &service.issuer;
    format!(
        "\nAgentIdP serves {issuer} and has made its first administrator:\n\n\
         client_id:     {id}\nclient_secret: {secret}\n\n\
         Get a token:\n\n\
         curl -s {url}/api/v1/token -u '{id}:{secret}' -d grant_type=client_credentials\n\n\
         {pages}Explore the API: {url}/docs\n\n"
    )
}

/// Returns the facts of the welcome text as JSON.
fn welcome_json(service: &Service, has_console: bool) -> serde_json::Value {
    let mut welcome = serde_json::json!({
        "message": "ready",
        "issuer": *service.issuer,
        "docs": format!("http://{}/docs", service.address),
    });
    if has_console {
        welcome["console"] = format!("http://{}/console", service.address).into();
    }
    if let Some(administrator) = &service.administrator {
        welcome["clientId"] = administrator.client_id.to_string().into();
        welcome["clientSecret"] = administrator.client_secret.expose().into();
    }
    welcome
}

/// Prints a text. A reader that has seen enough and closed the pipe is no error.
fn print(text: &str) -> Result<(), StartError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(StartError::Io(error)),
        _ => Ok(()),
    }
}

fn wrong(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(WRONG_SETTINGS)
}

/// Prints the reason of the exit to standard error, in the format of the log.
fn complain(message: &str) {
    let line = match Cli::logs_json() {
        false => format!("agentidp: {message}"),
        true => serde_json::json!({ "level": "ERROR", "message": message }).to_string(),
    };
    // There is no other place to report that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Signals that end the service.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
