//! Listeners: sockets, sniffing, filter chains, TCP proxying.
