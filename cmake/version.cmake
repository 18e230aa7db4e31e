# Writes <build>/generated/moesim_version.hpp with MOESIM_VERSION and MOESIM_GIT_COMMIT (two string literals).
#
# Only sim/cli may include it (`moesim version` and run_info.json): results never depend on it. The commit is read
# from the files of .git, so git itself is not needed; without them it is "unknown". The header is looked at again
# when the commit changes, and only the files that include it are compiled again.
#
# The file is also the script that does so while building:
#   cmake -DSOURCE=... -DTEMPLATE_VERSION=... -DOUTPUT=... -P version.cmake

# moesim_git_folders(<source> <own> <common>): the folder of HEAD and that of the branches (they differ in a second
# worktree), or two empty strings.
function(moesim_git_folders source own common)
  set(git "${source}/.git")
  if(EXISTS "${git}" AND NOT IS_DIRECTORY "${git}")
    file(STRINGS "${git}" line REGEX "^gitdir: " LIMIT_COUNT 1)
    string(REGEX REPLACE "^gitdir: " "" git "${line}")
    get_filename_component(git "${git}" ABSOLUTE BASE_DIR "${source}")
  endif()
  if(NOT EXISTS "${git}/HEAD")
    set(${own} "" PARENT_SCOPE)
    set(${common} "" PARENT_SCOPE)
    return()
  endif()
  set(shared "${git}")
  if(EXISTS "${git}/commondir")
    file(STRINGS "${git}/commondir" line LIMIT_COUNT 1)
    get_filename_component(shared "${line}" ABSOLUTE BASE_DIR "${git}")
  endif()
  set(${own} "${git}" PARENT_SCOPE)
  set(${common} "${shared}" PARENT_SCOPE)
endfunction()

# moesim_git_commit(<source> <result>): the commit that is checked out, or "unknown".
function(moesim_git_commit source result)
  set(${result} "unknown" PARENT_SCOPE)
  moesim_git_folders("${source}" own common)
  if(NOT own)
    return()
  endif()
  file(STRINGS "${own}/HEAD" head LIMIT_COUNT 1)
  if(head MATCHES "^ref: (.+)$")
    set(branch "${CMAKE_MATCH_1}")
    set(head "")
    if(EXISTS "${common}/${branch}")
      file(STRINGS "${common}/${branch}" head LIMIT_COUNT 1)
    elseif(EXISTS "${common}/packed-refs")
      file(STRINGS "${common}/packed-refs" lines)
      foreach(line IN LISTS lines)
        if(line MATCHES "^([0-9a-f]+) (.+)$" AND CMAKE_MATCH_2 STREQUAL branch)
          set(head "${CMAKE_MATCH_1}")
        endif()
      endforeach()
    endif()
  endif()
  if(head MATCHES "^[0-9a-f]+$")
    set(${result} "${head}" PARENT_SCOPE)
  endif()
endfunction()

# moesim_write_version(<source> <version> <output>): writes the header, and leaves it alone if it would not change.
function(moesim_write_version source version output)
  set(MOESIM_VERSION "${version}")
  moesim_git_commit("${source}" MOESIM_GIT_COMMIT)
  set(template [=[
// Generated while building: see cmake/version.cmake. Results must not depend on this file.
#pragma once

#define MOESIM_VERSION "@MOESIM_VERSION@"
#define MOESIM_GIT_COMMIT "@MOESIM_GIT_COMMIT@"
]=])
  string(CONFIGURE "${template}" text @ONLY)
  set(old "")
  if(EXISTS "${output}")
    file(READ "${output}" old)
  endif()
  if(NOT old STREQUAL text)
    file(WRITE "${output}" "${text}")
  endif()
endfunction()

if(CMAKE_SCRIPT_MODE_FILE)
  moesim_write_version("${SOURCE}" "${TEMPLATE_VERSION}" "${OUTPUT}")
  return()
endif()

set(moesim_version_header "${CMAKE_BINARY_DIR}/generated/moesim_version.hpp")
moesim_write_version("${CMAKE_SOURCE_DIR}" "${PROJECT_VERSION}" "${moesim_version_header}")

# HEAD changes when another branch is checked out, logs/HEAD with each commit.
moesim_git_folders("${CMAKE_SOURCE_DIR}" moesim_git_own moesim_git_common)
set(moesim_git_watched "")
foreach(name HEAD logs/HEAD)
  if(moesim_git_own AND EXISTS "${moesim_git_own}/${name}")
    list(APPEND moesim_git_watched "${moesim_git_own}/${name}")
  endif()
endforeach()
add_custom_command(
  OUTPUT "${moesim_version_header}"
  COMMAND "${CMAKE_COMMAND}" "-DSOURCE=${CMAKE_SOURCE_DIR}" "-DTEMPLATE_VERSION=${PROJECT_VERSION}"
          "-DOUTPUT=${moesim_version_header}" -P "${CMAKE_CURRENT_LIST_FILE}"
  DEPENDS ${moesim_git_watched} "${CMAKE_CURRENT_LIST_FILE}"
  COMMENT "Looking up the commit"
  VERBATIM)

if(TARGET moesim_cli)
  get_target_property(moesim_cli_type moesim_cli TYPE)
  if(NOT moesim_cli_type STREQUAL "INTERFACE_LIBRARY")
    target_sources(moesim_cli PRIVATE "${moesim_version_header}")
    target_include_directories(moesim_cli PRIVATE "${CMAKE_BINARY_DIR}/generated")
  endif()
endif()
if(TARGET moesim)
  target_sources(moesim PRIVATE "${moesim_version_header}")
  target_include_directories(moesim PRIVATE "${CMAKE_BINARY_DIR}/generated")
  add_dependencies(moesim moesim_cli)
endif()
