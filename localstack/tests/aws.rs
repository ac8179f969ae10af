//! The AWS stand-ins, asked over real sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "aws/changes.rs"]
mod changes;
#[path = "aws/client.rs"]
mod client;
#[path = "aws/control.rs"]
mod control;
#[path = "aws/credentials.rs"]
mod credentials;
#[path = "aws/ec2.rs"]
mod ec2;
#[path = "aws/faults.rs"]
mod faults;
#[path = "aws/imds.rs"]
mod imds;
#[path = "aws/life.rs"]
mod life;
#[path = "aws/listings.rs"]
mod listings;
#[path = "aws/name_servers.rs"]
mod name_servers;
#[path = "aws/program.rs"]
mod program;
#[path = "aws/records.rs"]
mod records;
#[path = "aws/stage.rs"]
mod stage;
