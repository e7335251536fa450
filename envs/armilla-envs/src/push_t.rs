//! PushT
