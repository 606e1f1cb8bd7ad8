# zerohop_test(NAME SOURCES… LIBRARIES… [THREADS]): one GoogleTest program, each of its cases a test of ctest.
# THREADS: part of what runs under the thread sanitizer; such a program links neither gRPC nor OpenVINO.
add_custom_target(thread_tests)
function(zerohop_test name)
  cmake_parse_arguments(ARG "THREADS" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gtest_main GTest::gmock)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(ARG_THREADS)
    add_dependencies(thread_tests ${name})
    set(label threads)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 LABELS "${label}")
endfunction()
