// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// Runs a target once with each file of the folders and files that it is given; names them, so that the last name
// printed is that of the input that ends the program.
int main(int argc, char** argv)
{
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < argc; ++i) {
        if (!std::filesystem::is_directory(argv[i]))
            files.emplace_back(argv[i]);
        else
            for (auto const& entry : std::filesystem::directory_iterator{argv[i]})
                files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (auto const& path : files) {
        std::printf("%s\n", path.c_str());
        std::fflush(stdout);
        std::ifstream in{path, std::ios::binary};
        if (!in) {
            std::fprintf(stderr, "cannot be read\n");
            return 1;
        }
        std::vector<char> const bytes{std::istreambuf_iterator<char>{in}, {}};
        LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
    }
    std::printf("%zu inputs\n", files.size());
    return files.empty() ? 1 : 0;
}
