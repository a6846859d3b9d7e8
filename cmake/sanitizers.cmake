# One switch for every target: mixing instrumented and plain objects hides errors.
if(TIEROD_SANITIZE)
  add_compile_options(-fsanitize=${TIEROD_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TIEROD_SANITIZE})
  if(TIEROD_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=all)
    add_link_options(-fno-sanitize-recover=all)
  endif()
  if(TIEROD_SANITIZE MATCHES "thread")
    # c10's reference counts use a fence, which ThreadSanitizer does not model: see tsan.supp
    add_compile_options(-Wno-tsan)
  endif()
endif()
