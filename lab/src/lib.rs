//! Network namespaces with real peers.
