// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/crc.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace payments {

/// A text file to which whole lines are appended, each ending with its checksum. Plain files and nothing else.
///
/// A line is in the file for ever once `append` has returned. One that was being written when the process was killed or the
/// power failed is either complete or cut off when the file is opened again.
/// @par Thread safety
/// one thread at a time; other processes are locked out.
class ledger_file {
public:
    /// @param take called with each line that is there.
    /// @throws std::system_error, or std::runtime_error if another process has it open or if it is damaged before its end.
    template <class Take>
    ledger_file(std::string const& path, Take take) : path_{path}, file_{::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)}
    {
        require(file_.descriptor >= 0);
        if (::flock(file_.descriptor, LOCK_EX | LOCK_NB) != 0)
            throw std::runtime_error{path_ + " is in use by another process"};
        auto const text = read_all();
        auto const whole = read_lines(text, take);
        if (whole < text.size())
            require(::ftruncate(file_.descriptor, static_cast<off_t>(whole)) == 0);
        // A killed process may have written what is not on the disk yet, and from now on it is told of.
        require(::fsync(file_.descriptor) == 0);
        sync_folder();
    }

    /// Appends a line; it is on the disk on return.
    /// @throws std::system_error if it cannot be said whether it is: nothing can be appended any more, and who opens the file next finds out.
    void append(std::string line)
    {
        if (failed_)
            throw std::runtime_error{path_ + " could not be written before, and has to be opened again"};
        if (line.find('\n') != std::string::npos)
            throw std::invalid_argument{"a line of the ledger with a line break in it"};
        line += ' ' + checksum(line) + '\n';
        failed_ = true;
        for (std::string_view rest = line; !rest.empty();) {
            auto const n = ::write(file_.descriptor, rest.data(), rest.size());
            require(n >= 0 || errno == EINTR);
            rest.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
        }
        require(::fdatasync(file_.descriptor) == 0);
        failed_ = false;
    }

private:
    static constexpr std::size_t checksum_size = 8;

    struct descriptor_owner {
        explicit descriptor_owner(int d) : descriptor{d} {}
        descriptor_owner(descriptor_owner const&) = delete;
        descriptor_owner& operator=(descriptor_owner const&) = delete;
        ~descriptor_owner() { ::close(descriptor); }
        int descriptor;
    };

    void require(bool done) const
    {
        if (!done)
            throw std::system_error{errno, std::generic_category(), path_};
    }

    std::string read_all() const
    {
        struct stat status {};
        require(::fstat(file_.descriptor, &status) == 0);
        std::string text(static_cast<std::size_t>(status.st_size), '\0');
        for (std::size_t done = 0; done < text.size();) {
            auto const n = ::pread(file_.descriptor, text.data() + done, text.size() - done, static_cast<off_t>(done));
            require(n > 0 || (n < 0 && errno == EINTR));
            done += n > 0 ? static_cast<std::size_t>(n) : 0;
        }
        return text;
    }

    // @return how much of the text is whole lines. Only the last one can be torn, since each is on the disk before the next is written.
    template <class Take>
    std::size_t read_lines(std::string_view text, Take& take) const
    {
        std::size_t at = 0;
        for (std::size_t number = 1; at < text.size(); ++number) {
            auto const end = text.find('\n', at);
            auto const line = text.substr(at, end - at);
            if (end == std::string_view::npos || !is_whole(line)) {
                if (end < text.size() - 1)
                    throw std::runtime_error{path_ + " is damaged in line " + std::to_string(number)};
                break;
            }
            take(line.substr(0, line.size() - checksum_size - 1));
            at = end + 1;
        }
        return at;
    }

    static bool is_whole(std::string_view line)
    {
        if (line.size() <= checksum_size)
            return false;
        auto const content = line.substr(0, line.size() - checksum_size - 1);
        return line.substr(content.size()) == ' ' + checksum(content);
    }

    static std::string checksum(std::string_view text)
    {
        boost::crc_32_type crc;
        crc.process_bytes(text.data(), text.size());
        std::array<char, checksum_size + 1> digits{};
        std::snprintf(digits.data(), digits.size(), "%08x", static_cast<unsigned>(crc.checksum()));
        return digits.data();
    }

    // So that a new file keeps its name.
    void sync_folder() const
    {
        auto const folder = std::filesystem::absolute(path_).parent_path();
        descriptor_owner const opened{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        require(opened.descriptor >= 0 && ::fsync(opened.descriptor) == 0);
    }

    std::string path_;
    descriptor_owner file_;
    bool failed_ = false;
};

} // namespace payments
