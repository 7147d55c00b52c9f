//! Where tests run networks: on the processor, or where `GRADKIN_DEVICE` says.

use gradkin_network::Device;

/// The device that tests are asked to run on.
pub(crate) fn device() -> Device {
    std::env::var("GRADKIN_DEVICE").map_or(Device::Cpu, |text| text.parse().unwrap())
}
