# cmake --install <build> --prefix <place>: bin/moesim and the catalogues, which it finds beside itself in
# share/moesim (or where MOESIM_HOME points).
include(GNUInstallDirs)

if(TARGET moesim)
  install(TARGETS moesim RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

set(moesim_share "${CMAKE_INSTALL_DATADIR}/moesim")
install(DIRECTORY hw_configs DESTINATION "${moesim_share}" FILES_MATCHING PATTERN "*.json")
install(DIRECTORY models/zoo DESTINATION "${moesim_share}/models" FILES_MATCHING PATTERN "*.json")
install(DIRECTORY workloads/scenarios workloads/traces DESTINATION "${moesim_share}/workloads"
        FILES_MATCHING PATTERN "*.json" PATTERN "*.jsonl" PATTERN "*.csv" PATTERN "*.gz" PATTERN "*.zst")
install(FILES LICENSE CHANGELOG.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
