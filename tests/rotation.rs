//! Keys that rotate: over months, interrupted anywhere, by two at once, on demand, and what calls notice of it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

#[path = "rotation/alerts.rs"]
mod alerts;
#[path = "rotation/calls.rs"]
mod calls;
#[path = "rotation/connections.rs"]
mod connections;
#[path = "rotation/example.rs"]
mod example;
#[path = "rotation/forced.rs"]
mod forced;
#[path = "rotation/grants.rs"]
mod grants;
#[path = "rotation/interrupted.rs"]
mod interrupted;
#[path = "rotation/leaders.rs"]
mod leaders;
#[path = "rotation/months.rs"]
mod months;
#[path = "rotation/overlaps.rs"]
mod overlaps;
#[path = "rotation/published.rs"]
mod published;
#[path = "rotation/steps.rs"]
mod steps;
#[path = "rotation/stops.rs"]
mod stops;
#[path = "rotation/upkeep.rs"]
mod upkeep;
#[path = "rotation/webhook.rs"]
mod webhook;
#[path = "rotation/world.rs"]
mod world;
