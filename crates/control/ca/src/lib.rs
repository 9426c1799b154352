//! The certificate authority and its CSR service.
