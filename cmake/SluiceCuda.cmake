# The CUDA language, where nvcc is found and SLUICE_CUDA is on. SLUICE_HAVE_CUDA says whether it is;
# without it the list of backends is shorter.
set(SLUICE_HAVE_CUDA OFF)
include(CheckLanguage)
if(SLUICE_CUDA)
  check_language(CUDA)
endif()
if(NOT SLUICE_CUDA OR NOT CMAKE_CUDA_COMPILER)
  return()
endif()
set(SLUICE_HAVE_CUDA ON)

# Hopper's own instructions (wgmma, bulk copies) exist for sm_90a alone.
set(CMAKE_CUDA_ARCHITECTURES 90a-real)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 takes it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(STATUS "nvcc ${CMAKE_CUDA_COMPILER_VERSION} knows no C++20: no CUDA backend (12 or newer is needed)")
  set(SLUICE_HAVE_CUDA OFF)
  return()
endif()
find_package(CUDAToolkit REQUIRED)
# A system folder among nvcc's own would hide the C++ library's wrappers of it.
list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
