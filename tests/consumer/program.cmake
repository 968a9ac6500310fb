# The program that each way of finding dit builds, from headers and with what is compiled once, and what a consumer
# must not be given with it.
add_executable(consumer ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${CMAKE_CURRENT_LIST_DIR}/other.cpp)
target_link_libraries(consumer PRIVATE dit::dit)
add_executable(consumer_compiled ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${CMAKE_CURRENT_LIST_DIR}/other.cpp)
target_link_libraries(consumer_compiled PRIVATE dit::compiled)

get_target_property(flags dit::dit INTERFACE_COMPILE_OPTIONS)
if(flags)
  message(FATAL_ERROR "dit::dit asks its users for ${flags}")
endif()
if(TARGET dit_tests OR TARGET dit_examples OR TARGET benchmarks)
  message(FATAL_ERROR "dit brought its own programs into a consumer's build")
endif()
