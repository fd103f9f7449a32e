// The device of the calling thread.
#pragma once

namespace sluice::cuda {

// Makes `device` the calling thread's current one, and puts the former back.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

int multiprocessors();  // of the calling thread's current device

}  // namespace sluice::cuda
