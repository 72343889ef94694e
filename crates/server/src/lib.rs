//! WebSocket, HTTP, identity: everything that touches the network.
