//! The datapath with what is installed in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_common::atomic;
use lb_common::datapath::ConnectionTables;
use tracing::{error, info, warn};

use super::check_slots::CheckSlots;
use super::duty::Duty;
use crate::apply::{ApplyError, Installed, PlanError, execute, plan, server_fields};
use crate::datapath::{AttachError, Attachment, Datapath, LoadError, MappedTables, Sizes};
use crate::model::{Interface, Model, ServiceKey};
use crate::nexthop::Resolution;

/// Why the datapath could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Loading failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An interface could not be taken over.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The model does not fit into the tables.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The network namespace of the checks could not be made.
    #[error("the network of the checks through the datapath: {0}")]
    CheckNetwork(std::io::Error),
    /// All real-server slots are in use.
    #[error(
        "no room for checks through the datapath (limits.real_servers); each takes the place of a real server"
    )]
    NoCheckSlot,
}

/// The loaded datapath, what is installed in it, and the next hops known so far.
#[derive(Debug)]
pub struct Engine {
    pub(super) datapath: Datapath,
    pub(super) installed: Installed,
    pub(super) resolutions: BTreeMap<IpAddr, Resolution>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) generation: u64,
    pub(super) checks: Option<CheckSlots>,
    duty: Duty,
    /// Addresses that accept nothing but what their services take, and their records.
    refused: BTreeMap<IpAddr, u32>,
}

impl Engine {
    /// Loads the datapath; nothing is attached and no service installed.
    ///
    /// # Errors
    ///
    /// [`EngineError::Load`].
    pub fn load(sizes: &Sizes) -> Result<Self, EngineError> {
        let datapath = Datapath::load(sizes)?;
        Ok(Self {
            duty: Duty::new(datapath.tables()),
            refused: BTreeMap::new(),
            datapath,
            installed: Installed::new(sizes),
            resolutions: BTreeMap::new(),
            attachments: Vec::new(),
            generation: 0,
            checks: None,
        })
    }

    /// Which virtual addresses are balanced here; for the thread of VRRP.
    pub(super) fn duty(&self) -> Duty {
        self.duty.clone()
    }

    /// The tables shared with the XDP program.
    #[must_use]
    pub fn tables(&self) -> Arc<MappedTables> {
        self.datapath.tables()
    }

    /// Installs a model: its services first, then its interfaces. Next hops of other addresses than `targets` are
    /// forgotten.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; the services are as before. An interface that refused is named, the others are attached.
    pub fn install(&mut self, model: &Model, targets: &BTreeSet<IpAddr>) -> Result<(), EngineError> {
        let tables = self.tables();
        let cursor = |id| tables.service(id).map_or(0, |service| atomic::load(service.cursor()));
        let plan = plan(model, &self.installed, &self.resolutions, cursor, Instant::now())?;
        // Interfaces that can be attached are the only thing left that may fail for a reason of the configuration.
        let added = self.attach_missing(&model.interfaces)?;
        // Before anything is installed, so that a service never is on duty for a moment where it must not be.
        self.duty.carry(model);
        self.duty.follow(&plan.installed, &always_on(model), &self.refused);
        if let Err(error) = execute(&mut self.datapath, &plan.operations) {
            self.duty.follow(&self.installed, &always_on(model), &self.refused);
            self.detach(|attachment| added.contains(&attachment.ifindex));
            return Err(error.into());
        }
        self.installed = plan.installed;
        self.refuse(model);
        self.detach(|attachment| !model.interfaces.iter().any(|wanted| wanted.name == attachment.interface));
        self.resolutions.retain(|address, _| targets.contains(address));
        Ok(())
    }

    /// Brings the addresses that accept nothing but what their services take in line with a model.
    fn refuse(&mut self, model: &Model) {
        let instances = model.vrrp.instances.iter().filter(|instance| !instance.accept);
        let wanted: BTreeSet<IpAddr> =
            instances.flat_map(|instance| instance.all_addresses()).map(|own| own.address).collect();
        if wanted.iter().eq(self.refused.keys()) {
            return;
        }
        let gone: Vec<IpAddr> =
            self.refused.keys().copied().filter(|address| !wanted.contains(address)).collect();
        for address in gone {
            match self.datapath.accept_address(address) {
                Ok(()) => drop(self.refused.remove(&address)),
                Err(error) => error!(%address, %error, "the address still accepts nothing"),
            }
        }
        for address in wanted {
            // On standby until it is known whether the address is here.
            match self.datapath.refuse_address(address, true) {
                Ok(id) => drop(self.refused.insert(address, id)),
                Err(error) => error!(%address, %error, "accept = false has no effect"),
            }
        }
        self.duty.follow(&self.installed, &always_on(model), &self.refused);
    }

    /// Attaches to interfaces that are not attached yet; returns their indices. Where one refuses, those before it are
    /// detached again.
    fn attach_missing(&mut self, wanted: &[Interface]) -> Result<BTreeSet<u32>, AttachError> {
        let mut added = BTreeSet::new();
        for interface in wanted {
            if self.attachments.iter().any(|attachment| attachment.interface == interface.name) {
                continue;
            }
            match self.datapath.attach(interface) {
                Ok(attachment) => {
                    added.insert(attachment.ifindex);
                    self.attachments.push(attachment);
                }
                Err(error) => {
                    self.detach(|attachment| added.contains(&attachment.ifindex));
                    return Err(error);
                }
            }
        }
        Ok(added)
    }

    fn detach(&mut self, which: impl Fn(&Attachment) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.attachments).into_iter().partition(|item| which(item));
        self.attachments = kept;
        for attachment in gone {
            let interface = attachment.interface.clone();
            match self.datapath.detach(attachment) {
                Ok(()) => info!(interface, "detached"),
                Err(error) => warn!(interface, %error, "could not detach"),
            }
        }
    }

    /// Detaches from every interface.
    pub fn detach_all(&mut self) {
        self.end_checks();
        self.detach(|_| true);
    }

    /// Frees the slots of removed real servers that no connection entry names any more.
    pub(super) fn free_slots(&mut self, slots: BTreeSet<u32>) {
        self.installed.free_slots(slots);
    }

    /// Takes over changed next hops.
    pub fn resolve(&mut self, changes: Vec<(IpAddr, Resolution)>) {
        let tables = self.tables();
        let mut changed = BTreeSet::new();
        for (address, resolution) in changes {
            match &resolution {
                Resolution::Local => info!(%address, "real server is this host"),
                Resolution::Via(hop) => {
                    if !self.attachments.iter().any(|attachment| attachment.ifindex == hop.ifindex) {
                        warn!(
                            %address,
                            interface = hop.interface,
                            "the way to this real server leads through an interface that the configuration does not name: its packets are dropped"
                        );
                    }
                    info!(%address, interface = hop.interface, gateway = %hop.gateway, "next hop");
                }
                Resolution::Unresolved(reason) => warn!(%address, %reason, "no next hop"),
            }
            self.resolutions.insert(address, resolution);
            changed.insert(address);
        }
        for (key, service) in &self.installed.services {
            for installed in &service.servers {
                let address = installed.server.address;
                if changed.contains(&address)
                    && let Some(server) = tables.real_server(installed.slot)
                {
                    let resolution = self.resolutions.get(&address);
                    server.write(&server_fields(*key, service.id, &installed.server, resolution));
                }
            }
        }
        self.write_check_slots();
    }
}

fn always_on(model: &Model) -> BTreeSet<ServiceKey> {
    model.services.iter().filter(|service| service.always_on).map(|service| service.key).collect()
}
