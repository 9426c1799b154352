//! SPIFFE identities, trust bundles and X.509 SVIDs as values.
