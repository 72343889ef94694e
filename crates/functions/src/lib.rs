//! The function API and the one door to run functions.
