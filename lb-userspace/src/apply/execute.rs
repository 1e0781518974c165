//! Carrying out a plan.

use lb_common::atomic;
use lb_common::datapath::ConnectionTables;
use lb_common::layout::{Address, ServiceKey as MapKey};

use super::Operation;
use crate::datapath::{Datapath, LoadError};
use crate::model::ServiceKey;

/// Why a plan could not be carried out; nothing that packets see has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused a service's key.
    #[error("service {key}: {source}")]
    Key {
        /// Service.
        key: ServiceKey,
        /// The kernel's reason.
        source: Box<LoadError>,
    },
}

/// Carries out operations in order.
///
/// # Errors
///
/// [`ApplyError`]; the keys inserted before the refusal have been taken out again.
pub fn execute(datapath: &mut Datapath, operations: &[Operation]) -> Result<(), ApplyError> {
    let tables = datapath.tables();
    let mut inserted = Vec::new();
    for operation in operations {
        match operation {
            Operation::AddServer { slot, fields } => {
                tables.clear_traffic(*slot);
                if let Some(server) = tables.real_server(*slot) {
                    server.write(fields);
                }
            }
            Operation::WriteRange { offset, slots } => tables.write_scheduler_range(*offset, slots),
            Operation::WriteService { id, fields } => {
                if let Some(service) = tables.service(*id) {
                    service.write(fields);
                    atomic::store(service.cursor(), 0);
                }
            }
            Operation::InsertKey { key, id } => {
                if let Err(source) = datapath.insert_service(map_key(*key), *id) {
                    for key in inserted {
                        // The entry was made a moment ago; what cannot be taken out now leads to an unused service.
                        let _ = datapath.remove_service(map_key(key));
                    }
                    return Err(ApplyError::Key { key: *key, source: Box::new(source) });
                }
                inserted.push(*key);
            }
            Operation::RemoveKey { key } => {
                if let Err(error) = datapath.remove_service(map_key(*key)) {
                    tracing::error!(service = %key, %error, "the kernel keeps the key of a removed service");
                }
            }
            Operation::RetireServer { slot } => {
                if let Some(server) = tables.real_server(*slot) {
                    server.retire();
                }
            }
        }
    }
    Ok(())
}

/// The key as the datapath looks it up.
fn map_key(key: ServiceKey) -> MapKey {
    MapKey::new(Address::from(key.address), key.port.to_be(), key.protocol.number())
}
