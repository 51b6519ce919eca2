//! What a service listens on: its API, with its own routes, and the management listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use super::StartError;
use super::supervision::Supervise;
use crate::consumer::ConsumerControl;
use crate::http::{Health, Publisher, fallbacks, health_routes, management_routes};
use crate::inspect::Inspector;
use crate::producer::{Outlet, Producer, ProducerActor};
use crate::settings::{Settings, own_name};

/// How long a shutdown waits for open requests, in seconds: as long as a publish may take by default.
const HTTP_SHUTDOWN_SECONDS: u64 = 5;

pub(super) type HttpRoutes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// A server and where it listens.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) handle: ServerHandle,
}

pub(super) fn listen_api(
    settings: &Settings,
    health: &Health,
    outlet: &Outlet,
    supervise: &Supervise,
    routes: HttpRoutes,
) -> Result<Listener, StartError> {
    let (health, outlet, supervise) = (health.clone(), outlet.clone(), supervise.clone());
    let deadline = settings.publish_deadline;
    let workers = Arc::new(AtomicUsize::new(0));
    let server = HttpServer::new(move || {
        // Runs on each worker's own thread: its `ProducerActor` lives there, so that publishing crosses no thread.
        let worker = format!("http-{}", workers.fetch_add(1, Ordering::Relaxed));
        let restarts = supervise.restarts(&format!("{worker}/producer"));
        health.heartbeats.beat(worker);
        let producer = ProducerActor::start_on_this_arbiter(outlet.clone(), restarts);
        let producer = Producer::new(producer, supervise.journal.clone());
        App::new()
            .app_data(web::Data::new(Publisher::new(producer, outlet.clone(), deadline)))
            .app_data(web::Data::new(health.clone()))
            .configure(fallbacks)
            .configure(health_routes)
            .configure(|config| routes(config))
    })
    .workers(settings.http_workers)
    .shutdown_timeout(HTTP_SHUTDOWN_SECONDS);
    let address = SocketAddr::new(settings.host, settings.port);
    let bound = server.bind(address).map_err(|error| StartError::Bind {
        name: "the API",
        address,
        variable: own_name(settings.service, "PORT"),
        error,
    })?;
    let address = bound.addrs().first().copied().unwrap_or(address);
    Ok(run(bound.disable_signals().run(), address))
}

pub(super) fn listen_management(
    settings: &Settings,
    health: &Health,
    inspector: &Arc<Inspector>,
    control: &ConsumerControl,
) -> Result<Listener, StartError> {
    let (health, inspector, control) = (health.clone(), Arc::clone(inspector), control.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(Arc::clone(&inspector)))
            .app_data(web::Data::new(control.clone()))
            .configure(fallbacks)
            .configure(management_routes)
    })
    // Operators are few.
    .workers(1)
    .shutdown_timeout(1);
    let address = SocketAddr::new(settings.management_host, settings.management_port);
    let bound = server.bind(address).map_err(|error| StartError::Bind {
        name: "the management listener",
        address,
        variable: own_name(settings.service, "MANAGEMENT_PORT"),
        error,
    })?;
    let address = bound.addrs().first().copied().unwrap_or(address);
    Ok(run(bound.disable_signals().run(), address))
}

fn run(server: actix_web::dev::Server, address: SocketAddr) -> Listener {
    let handle = server.handle();
    actix::spawn(async move {
        // A server ends when it is told to; an error of an accept loop is told by its own log.
        let _ = server.await;
    });
    Listener { address, handle }
}
