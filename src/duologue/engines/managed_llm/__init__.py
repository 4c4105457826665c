"""Language models' servers that are started, watched and ended here: vLLM, llama.cpp and Ollama."""
