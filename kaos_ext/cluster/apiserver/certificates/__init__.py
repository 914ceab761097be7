"""CertificateSigningRequests: who asked, who may approve, and the signature itself."""
