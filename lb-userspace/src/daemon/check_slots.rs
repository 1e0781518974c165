//! Slots and network of the checks that go through the datapath.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::datapath::ConnectionTables;
use lb_common::layout::{Address, CHECK_SERVICE, Method, NextHop, RealServerFields};

use super::engine::{Engine, EngineError};
use crate::apply::server_fields;
use crate::datapath::Attachment;
use crate::health::through::{CheckNetwork, Way};
use crate::health::{ServerKey, server_key};
use crate::model::{AttachMode, ForwardingMethod, Interface, Model, RealServer, ServiceKey};
use crate::nexthop::Resolution;

/// The network of the checks and the slots that they use.
#[derive(Debug)]
pub(super) struct CheckSlots {
    network: Arc<CheckNetwork>,
    attachment: Option<Attachment>,
    answers: u32,
    servers: BTreeMap<(ServiceKey, ServerKey), (u32, RealServer)>,
}

/// Real servers with a check through the datapath.
fn wanted(model: &Model) -> BTreeMap<(ServiceKey, ServerKey), &RealServer> {
    let servers = model.services.iter().flat_map(|service| {
        service.real_servers.iter().map(|server| ((service.key, server_key(server)), server))
    });
    let through =
        |server: &RealServer| server.health.checks.iter().any(|check| check.target.through_datapath);
    servers.filter(|(_, server)| through(server)).collect()
}

impl Engine {
    /// Prepares the datapath for the checks of a model; returns their network where they need one.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses the network, or no slot is left.
    pub(super) fn prepare_checks(&mut self, model: &Model) -> Result<Option<Arc<CheckNetwork>>, EngineError> {
        let wanted = wanted(model);
        if wanted.is_empty() {
            self.end_checks();
            return Ok(None);
        }
        if self.checks.is_none() {
            self.checks = Some(self.start_checks()?);
        }
        let Some(mut checks) = self.checks.take() else { return Ok(None) };
        let outcome = self.assign_slots(&mut checks, &wanted);
        let network = Arc::clone(&checks.network);
        self.checks = Some(checks);
        outcome?;
        self.write_check_slots();
        Ok(Some(network))
    }

    fn start_checks(&mut self) -> Result<CheckSlots, EngineError> {
        let network = CheckNetwork::start(self.tables()).map_err(EngineError::CheckNetwork)?;
        let answers = self.installed.take_slot().ok_or(EngineError::NoCheckSlot)?;
        // A native redirect to an interface in generic mode would be dropped by its driver.
        let generic = self.attachments.iter().any(|attachment| attachment.mode == "generic");
        let mode = if generic { AttachMode::Generic } else { AttachMode::Native };
        let interface = Interface { name: network.interface().to_owned(), mode };
        let attachment = match self.datapath.attach(&interface) {
            Ok(attachment) => attachment,
            Err(error) => {
                self.installed.retire_slot(answers);
                return Err(error.into());
            }
        };
        let (destination_mac, source_mac) = network.macs();
        if let Some(server) = self.tables().real_server(answers) {
            server.write(&RealServerFields {
                method: Method::DirectRouting,
                address: Address::default(),
                port: 0,
                source: Address::default(),
                virtual_port: 0,
                service: CHECK_SERVICE,
                next_hop: Some(NextHop {
                    ifindex: network.ifindex(),
                    destination_mac,
                    source_mac,
                    mtu: 1500,
                }),
            });
        }
        network.set_answers(answers);
        Ok(CheckSlots {
            network: Arc::new(network),
            attachment: Some(attachment),
            answers,
            servers: BTreeMap::new(),
        })
    }

    fn assign_slots(
        &mut self,
        checks: &mut CheckSlots,
        wanted: &BTreeMap<(ServiceKey, ServerKey), &RealServer>,
    ) -> Result<(), EngineError> {
        let tables = self.tables();
        let same = |old: &RealServer, new: &RealServer| old.forwarding == new.forwarding;
        let gone: Vec<_> = checks
            .servers
            .iter()
            .filter(|(key, (_, old))| wanted.get(key).is_none_or(|new| !same(old, new)))
            .map(|(key, (slot, _))| (*key, *slot))
            .collect();
        for (key, slot) in gone {
            checks.servers.remove(&key);
            if let Some(server) = tables.real_server(slot) {
                server.retire();
            }
            self.installed.retire_slot(slot);
        }
        for (key, server) in wanted {
            if !checks.servers.contains_key(key) {
                let slot = self.installed.take_slot().ok_or(EngineError::NoCheckSlot)?;
                // Checks run on a backup as well, whatever a plan that failed has left in the slot.
                tables.set_server_standby(slot, false);
                checks.servers.insert(*key, (slot, (*server).clone()));
            }
        }
        Ok(())
    }

    /// Writes the next hops as they are known now.
    pub(super) fn write_check_slots(&self) {
        let Some(checks) = &self.checks else { return };
        let tables = self.tables();
        let mut ways = BTreeMap::new();
        for ((service, key), (slot, server)) in &checks.servers {
            let resolution = self.resolutions.get(&server.address);
            if let Some(record) = tables.real_server(*slot) {
                record.write(&server_fields(*service, CHECK_SERVICE, server, resolution));
            }
            let way = match resolution {
                Some(Resolution::Local) => Way::Local,
                Some(Resolution::Via(hop)) => Way::Slot { slot: *slot, source: hop.source },
                _ => Way::Slot { slot: *slot, source: None },
            };
            debug_assert_ne!(server.forwarding, ForwardingMethod::Nat, "the configuration refuses it");
            ways.insert((*service, *key), way);
        }
        checks.network.set_ways(ways);
    }

    /// Takes the network of the checks down.
    pub(super) fn end_checks(&mut self) {
        let Some(checks) = self.checks.take() else { return };
        let slots = checks.servers.values().map(|(slot, _)| *slot).chain([checks.answers]);
        for slot in slots {
            if let Some(server) = self.tables().real_server(slot) {
                server.retire();
            }
            self.installed.retire_slot(slot);
        }
        if let Some(attachment) = checks.attachment
            && let Err(error) = self.datapath.detach(attachment)
        {
            tracing::warn!(%error, "could not detach from the interface of the checks");
        }
        checks.network.close();
    }
}
