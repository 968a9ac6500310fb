# The program that each way of finding dit builds, and what a consumer must not be given with it.
add_executable(consumer ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${CMAKE_CURRENT_LIST_DIR}/other.cpp)
target_link_libraries(consumer PRIVATE dit::dit)

get_target_property(flags dit::dit INTERFACE_COMPILE_OPTIONS)
if(flags)
  message(FATAL_ERROR "dit::dit asks its users for ${flags}")
endif()
if(TARGET dit_tests OR TARGET dit_examples OR TARGET benchmarks)
  message(FATAL_ERROR "dit brought its own programs into a consumer's build")
endif()
