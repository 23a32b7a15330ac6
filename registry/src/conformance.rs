//! What every engine must hold to.
