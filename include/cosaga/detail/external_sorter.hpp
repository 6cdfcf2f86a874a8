// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stdlib.h>
#include <unistd.h>

namespace cosaga::detail {

/// Sorts any number of entries by id in bounded memory: what does not fit goes to temporary files in sorted runs, which are merged.
/// Entries of one id stay in the order in which they were added.
class external_sorter {
public:
    /// @param memory bytes that entries may take before they go to a file.
    /// @param folder for the files, which have no name there and are gone with the sorter.
    external_sorter(std::size_t memory, std::string folder) : memory_{memory}, folder_{std::move(folder)} {}

    void add(message_id const& id, std::string_view content)
    {
        entries_.push_back({id, bytes_.size(), static_cast<std::uint32_t>(content.size())});
        bytes_ += content;
        if (bytes_.size() + entries_.size() * sizeof(entry) > memory_)
            spill();
    }

    struct item {
        message_id id;
        std::string content;
    };

    /// Reads the entries in order, from the first; any number of times, one at a time.
    class reader {
    public:
        /// @param sorter gets no more entries.
        explicit reader(external_sorter& sorter) : sorter_{&sorter}
        {
            sorter.sort();
            for (std::size_t n = 0; n < sorter.runs_.size(); ++n) {
                std::rewind(sorter.runs_[n].get());
                push(n);
            }
            push(sorter.runs_.size());
        }

        bool next(item& to)
        {
            if (heads_.empty())
                return false;
            auto head = std::move(const_cast<source&>(heads_.top())); // no other way out of a priority_queue
            heads_.pop();
            to = std::move(head.front);
            push(head.run);
            return true;
        }

    private:
        struct source {
            item front;
            std::size_t run;

            bool operator<(source const& other) const { return std::pair{other.front.id, other.run} < std::pair{front.id, run}; }
        };

        void push(std::size_t run)
        {
            source s{{}, run};
            if (run < sorter_->runs_.size() ? sorter_->read(sorter_->runs_[run].get(), s.front) : from_memory(s.front))
                heads_.push(std::move(s));
        }

        bool from_memory(item& to)
        {
            if (at_ == sorter_->entries_.size())
                return false;
            auto const& e = sorter_->entries_[at_++];
            to = {e.id, sorter_->bytes_.substr(e.at, e.size)};
            return true;
        }

        external_sorter* sorter_;
        std::size_t at_ = 0;
        std::priority_queue<source> heads_;
    };

private:
    static constexpr std::size_t most_runs = 64;
    static constexpr std::size_t file_buffer = 64 * 1024;

    struct entry {
        message_id id;
        std::size_t at;
        std::uint32_t size;
    };
    struct closer {
        void operator()(std::FILE* f) const noexcept { std::fclose(f); }
    };
    using file = std::unique_ptr<std::FILE, closer>;

    void sort()
    {
        std::stable_sort(entries_.begin(), entries_.end(), [](entry const& a, entry const& b) { return a.id < b.id; });
    }

    void spill()
    {
        sort();
        auto to = make_file();
        for (auto const& e : entries_)
            write(to.get(), e.id, {bytes_.data() + e.at, e.size});
        entries_.clear();
        bytes_.clear();
        runs_.push_back(std::move(to));
        if (runs_.size() == most_runs)
            join();
    }

    // Many runs become one.
    void join()
    {
        auto to = make_file();
        reader all{*this};
        for (item i; all.next(i);)
            write(to.get(), i.id, i.content);
        runs_.clear();
        runs_.push_back(std::move(to));
    }

    file make_file() const
    {
        auto pattern = folder_ + "/cosaga_XXXXXX";
        int const fd = ::mkstemp(pattern.data());
        if (fd < 0)
            fail("cannot make a temporary file in " + folder_);
        ::unlink(pattern.c_str());
        file made{::fdopen(fd, "w+b")};
        if (!made) {
            ::close(fd);
            fail("cannot use a temporary file in " + folder_);
        }
        std::setvbuf(made.get(), nullptr, _IOFBF, file_buffer);
        return made;
    }

    void write(std::FILE* to, message_id const& id, std::string_view content) const
    {
        auto const size = static_cast<std::uint32_t>(content.size());
        bool const written = std::fwrite(id.bytes().data(), message_id::size, 1, to) == 1
                          && std::fwrite(&size, sizeof size, 1, to) == 1
                          && (content.empty() || std::fwrite(content.data(), content.size(), 1, to) == 1);
        if (!written)
            fail("cannot write a temporary file in " + folder_);
    }

    bool read(std::FILE* from, item& to) const
    {
        message_id::bytes_type id;
        std::uint32_t size = 0;
        if (std::fread(id.data(), id.size(), 1, from) != 1) {
            if (std::ferror(from))
                fail("cannot read a temporary file in " + folder_);
            return false;
        }
        bool read = std::fread(&size, sizeof size, 1, from) == 1;
        to.id = message_id{id};
        to.content.resize(size);
        read = read && (size == 0 || std::fread(to.content.data(), size, 1, from) == 1);
        if (!read)
            fail("cannot read a temporary file in " + folder_);
        return true;
    }

    [[noreturn]] static void fail(std::string const& what)
    {
        throw make_error(errno == ENOSPC ? errc::store_full : errc::store_failed, what + ": " + std::strerror(errno));
    }

    std::size_t memory_;
    std::string folder_;
    std::string bytes_;
    std::vector<entry> entries_;
    std::vector<file> runs_;
};

} // namespace cosaga::detail
