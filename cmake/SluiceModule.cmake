# One folder of src/ = one static library sluice_<name>, which links only folders above it.
#   sluice_module(routing SOURCES plan.cpp choice.cpp DEPS spec)
# One test executable = one idea; it is registered with CTest case by case.
#   sluice_test(routing_choice SOURCES choice_test.cpp DEPS routing)
# THREADS marks tests whose code runs on several threads: the tsan preset builds just these (target
# tsan_tests, label threads). COMPUTES marks tests that compute so much themselves that sanitizers
# need them optimised.

function(sluice_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_LIBS" ${ARGN})
  add_library(sluice_${name} STATIC ${arg_SOURCES})
  add_library(Sluice::${name} ALIAS sluice_${name})
  set_target_properties(sluice_${name} PROPERTIES EXPORT_NAME ${name})  # installed, the same name
  target_compile_features(sluice_${name} PUBLIC cxx_std_20)
  target_include_directories(sluice_${name}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  foreach(dep IN LISTS arg_DEPS)
    target_link_libraries(sluice_${name} PUBLIC sluice_${dep})
  endforeach()
  # Headers alone, in no public header of ours: who uses an installed copy needs none of them.
  list(TRANSFORM arg_PRIVATE_LIBS REPLACE "^(nlohmann_json::nlohmann_json)$" "$<BUILD_INTERFACE:\\1>")
  target_link_libraries(sluice_${name} PRIVATE $<BUILD_INTERFACE:sluice_warnings> ${arg_PRIVATE_LIBS})
  set_property(GLOBAL APPEND PROPERTY SLUICE_MODULES sluice_${name})
endfunction()

function(sluice_test name)
  if(NOT SLUICE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "THREADS;COMPUTES" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${name}_test ${arg_SOURCES})
  set(label "")
  if(arg_THREADS)
    set(label LABELS threads)
    add_dependencies(tsan_tests ${name}_test)
  endif()
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  foreach(dep IN LISTS arg_DEPS)
    target_link_libraries(${name}_test PRIVATE sluice_${dep})
  endforeach()
  target_link_libraries(${name}_test PRIVATE ${arg_LIBS} fmt::fmt GTest::gtest_main sluice_warnings)
  # Most take longer to compile than to run: what they test is optimised, they hardly are.
  if(NOT arg_COMPUTES)
    target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1> $<$<CONFIG:Sanitize>:-O0>)
  endif()
  # Tests read their data and may call the built programs by these absolute paths.
  target_compile_definitions(${name}_test PRIVATE
    SLUICE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    SLUICE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    SLUICE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  # A parameter's value may print as an address: the test would have another name in every build.
  gtest_discover_tests(${name}_test NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 600 ${label})
endfunction()

# A libFuzzer target, and a short run of it as a test: fuzz_NAME.cpp with the inputs in seeds/NAME.
#   sluice_fuzzer(chat_template DEPS tokenizer)
function(sluice_fuzzer name)
  if(NOT SLUICE_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_executable(fuzz_${name} fuzz_${name}.cpp)
  target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  foreach(dep IN LISTS arg_DEPS)
    target_link_libraries(fuzz_${name} PRIVATE sluice_${dep})
  endforeach()
  target_link_libraries(fuzz_${name} PRIVATE fmt::fmt sluice_warnings)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  # New finds go to the build folder, so that the seeds in the tree stay as they are.
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/corpus_${name})
  add_test(NAME fuzz_${name}
    COMMAND fuzz_${name} -runs=10000 -max_len=2048 -seed=1 -timeout=60
      ${CMAKE_CURRENT_BINARY_DIR}/corpus_${name} ${CMAKE_CURRENT_SOURCE_DIR}/seeds/${name})
  set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 300)
endfunction()
