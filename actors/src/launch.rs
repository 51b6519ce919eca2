//! From the command line to exit codes: what the programs' `main` functions share.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fatal::EXIT_CONFIG;
use crate::journal::{Failed, Journal};
use crate::kafka::{Broker, EmbeddedBroker};
use crate::service::{FLUSH_DEADLINE, Service, ServiceBuilder, StartError};
use crate::settings::{Declared, Defaults, Settings, SettingsError, Variable, arguments, united};
use crate::telemetry;
use delivery::member::LEAVE_DEADLINE;

/// Makes a service ready to start.
pub type Build = fn(Settings, Broker) -> Pin<Box<dyn Future<Output = Result<ServiceBuilder, StartError>>>>;

/// A service as a program knows it.
#[derive(Clone, Copy)]
pub struct App {
    /// What differs from other services.
    pub defaults: Defaults,
    /// The settings that it has in addition to the library's.
    pub own: Declared,
    /// Makes it ready to start.
    pub build: Build,
}

impl App {
    /// Every variable that is read for it: first the library's, then its own.
    #[must_use]
    pub fn table(&self) -> Vec<Variable> {
        Settings::table(self.defaults, self.own)
    }
}

/// What a program runs and how.
pub struct Program<'a> {
    /// One line for `--help`.
    pub about: &'a str,
    /// Its services, in the order of their start.
    pub apps: &'a [App],
    /// Whether a broker is embedded where none is set.
    pub embed_broker: bool,
    /// Changes settings after they were read.
    pub adjust: &'a dyn Fn(&mut Settings),
    /// Called once everything listens.
    pub started: &'a dyn Fn(&[Service], &Broker),
    /// What else is said to who starts that service without `KAFKA_BROKERS`, where no broker is embedded.
    pub without_brokers: fn(&str) -> String,
}

/// A stop that has not ended so long after the drain's own deadline is cut off. Each of its steps has had its time by then:
/// with the default of 4 s for the drain that is after 9.5 s, for orchestrators kill a process after 10.
const STOP_AFTER_DRAIN: Duration =
    LEAVE_DEADLINE.saturating_add(FLUSH_DEADLINE).saturating_add(Duration::from_millis(500));
/// Exit code of a second signal during a stop: 128 + SIGTERM, as shells have it.
const EXIT_CUT_SHORT: u8 = 143;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

impl<'a> Program<'a> {
    /// Services against a Kafka cluster, as they are set.
    #[must_use]
    pub fn alone(about: &'a str, apps: &'a [App]) -> Self {
        Self {
            about,
            apps,
            embed_broker: false,
            adjust: &|_| {},
            started: &|_, _| {},
            without_brokers: |_| String::new(),
        }
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        let words = arguments();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => self.run(self.apps),
            [name] if self.apps.len() > 1 && self.named(name).is_some() => {
                self.run(self.named(name).map(std::slice::from_ref).unwrap_or_default())
            }
            ["--help" | "-h"] => {
                println!("{}\n\nUsage: [healthcheck | --help | --version]", self.about);
                if self.apps.len() > 1 {
                    let names: Vec<&str> = self.apps.iter().map(|app| app.defaults.service).collect();
                    println!("       or the name of a service to run it alone: {}", names.join(" | "));
                }
                println!();
                println!("healthcheck exits 0 where the running service is ready, else 1.");
                println!("Settings come from the environment and from .env:\n");
                for variable in united(self.apps.iter().map(App::table)) {
                    println!("  {variable}");
                }
                ExitCode::SUCCESS
            }
            ["--version" | "-V"] => {
                println!("{}", env!("CARGO_PKG_VERSION"));
                ExitCode::SUCCESS
            }
            ["healthcheck"] => self.check_health(),
            _ => {
                eprintln!("unknown arguments: {}; try --help", words.join(" "));
                ExitCode::from(2)
            }
        }
    }

    fn named(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.defaults.service == name)
    }

    fn settings(&self, apps: &[App]) -> Result<Vec<Settings>, ExitCode> {
        let shared = apps.len() > 1;
        let read: Vec<_> = apps.iter().map(|app| Settings::load(app.defaults, app.own, shared)).collect();
        let mut settings = Vec::new();
        let mut wrong = SettingsError::default();
        for read in read {
            match read {
                Ok(mut read) => {
                    (self.adjust)(&mut read);
                    settings.push(read);
                }
                Err(error) => wrong.add(error),
            }
        }
        if wrong.problems.is_empty() {
            return Ok(settings);
        }
        eprintln!("{wrong}");
        Err(ExitCode::from(EXIT_CONFIG))
    }

    fn run(&self, apps: &[App]) -> ExitCode {
        let settings = match self.settings(apps) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let Some(first) = settings.first() else { return ExitCode::SUCCESS };
        // On a broker of its own one service alone would have no one to talk to.
        let broker = match (&first.brokers, self.embed_broker && apps.len() == self.apps.len()) {
            (Some(brokers), _) => Broker::Cluster(brokers.clone()),
            (None, true) => match EmbeddedBroker::start() {
                Ok(broker) => Broker::Embedded(Arc::new(broker)),
                Err(error) => {
                    eprintln!("the embedded broker cannot start: {error}");
                    return ExitCode::FAILURE;
                }
            },
            (None, false) => {
                let service = first.service;
                let more = (self.without_brokers)(service);
                eprintln!("{service}: KAFKA_BROKERS is not set: `host:port` of a Kafka cluster. {more}");
                return ExitCode::from(EXIT_CONFIG);
            }
        };
        telemetry::init(first.log_format, &first.log_filter);
        actix::System::new().block_on(self.serve(apps, settings, broker))
    }

    async fn serve(&self, apps: &[App], settings: Vec<Settings>, broker: Broker) -> ExitCode {
        // Before anything joins a group, so that a signal is never met raw.
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("signals cannot be handled: {error}");
                return ExitCode::FAILURE;
            }
        };
        let mut services = Vec::new();
        for (app, settings) in apps.iter().zip(settings) {
            let name = app.defaults.service;
            let started = async { (app.build)(settings, broker.clone()).await?.start() };
            match started.await {
                Ok(service) => services.push(service),
                Err(error) => {
                    eprintln!("{name}: {error}");
                    join_all(services.into_iter().map(Service::stop)).await;
                    return ExitCode::FAILURE;
                }
            }
        }
        (self.started)(&services, &broker);

        let stopped = select_all(services.iter().map(|service| Box::pin(service.stopped())));
        let code = tokio::select! {
            () = signals.next() => 0,
            (cause, ..) = stopped => cause.exit_code,
        };
        let drain = services.iter().map(|service| service.settings().drain_deadline).max().unwrap_or_default();
        let stopped = join_all(services.into_iter().map(Service::stop));
        tokio::select! {
            stopped = tokio::time::timeout(drain + STOP_AFTER_DRAIN, stopped) => {
                if stopped.is_err() {
                    let late = "the stop took too long: what was not settled will be repeated";
                    Journal::new(apps[0].defaults.service).write(Failed { error: &late });
                    // What still blocks a thread is not waited for.
                    std::process::exit(code.into());
                }
            }
            // What is settled is committed already or will be repeated: nothing is lost by leaving now.
            () = signals.next() => std::process::exit(EXIT_CUT_SHORT.into()),
        }
        ExitCode::from(code)
    }

    /// Asks the running services whether they are ready, for container health checks without a client in the image.
    fn check_health(&self) -> ExitCode {
        let settings = match self.settings(self.apps) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        for settings in settings {
            let address = std::net::SocketAddr::new(reachable(settings.host), settings.port);
            match ask(address) {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => {}
                Ok(answer) => {
                    eprintln!("{}: {}", settings.service, answer.lines().last().unwrap_or_default());
                    return ExitCode::FAILURE;
                }
                Err(error) => {
                    eprintln!("{}: no answer from {address}: {error}", settings.service);
                    return ExitCode::FAILURE;
                }
            }
        }
        ExitCode::SUCCESS
    }
}

/// An address to connect to for one that is listened on.
fn reachable(host: std::net::IpAddr) -> std::net::IpAddr {
    if host.is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { host }
}

fn ask(address: std::net::SocketAddr) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    connection.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(64 * 1024).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
