//! Clusters, endpoints, load balancing and connection pools.
